"""A delivery node as it is run: a process of its own, on uvloop, by its settings alone."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.delivery.scene import TOKEN, Scene
from tests.support.pipeline import free_ports

_CODE = (
    "from infra.runtime.service import run_service; from infra.runtime.settings import SettingsSource;"
    "from delivery.main import run; import sys; sys.exit(run_service(run, SettingsSource(), 'delivery'))"
)


@dataclass
class NodeProcess:
    """A running node."""

    process: asyncio.subprocess.Process
    port: int
    metrics_url: str

    @property
    def pid(self) -> int:
        """Of the node."""
        return self.process.pid

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of a path on the metrics port; 0 while nobody listens."""
        async with aiohttp.ClientSession() as session:
            try:
                async with session.get(self.metrics_url + path) as response:
                    return response.status, await response.text()
            except aiohttp.ClientConnectionError:
                return 0, ""

    async def ready(self, limit_s: float = 60.0) -> None:
        """Wait until the node can do its work."""
        async with asyncio.timeout(limit_s):
            while (await self.get("/readyz"))[0] != 200:
                assert self.process.returncode is None, "the node has ended"
                await asyncio.sleep(0.1)

    def end(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)


@asynccontextmanager
async def node_process(scene: Scene, *, is_ready: bool = True, **settings: Any) -> AsyncIterator[NodeProcess]:
    """A node against the scene's brokers; `settings` are PARLEY_… names without the prefix."""
    port, metrics_port = free_ports(2)
    kafka, cassandra = scene.kafka, scene.cassandra
    chosen = {
        "KAFKA_BOOTSTRAP": kafka.bootstrap,
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA_LANES": kafka.lanes,
        "KAFKA_PARTITIONS": kafka.partitions,
        "CASSANDRA_CONTACT_POINTS": cassandra.contact_points[0],
        "CASSANDRA_PORT": cassandra.port,
        "CASSANDRA_KEYSPACE": cassandra.keyspace,
        "INTERNAL_TOKEN": TOKEN,
        "DELIVERY_PORT": port,
        "DELIVERY_GATEWAYS": scene.gateway.url,
        "SERVICE_METRICS_PORT": metrics_port,
        "LOG_LEVEL": "error",
    } | settings
    environ = {**os.environ, **{f"PARLEY_{name}": str(value) for name, value in chosen.items()}}
    with tempfile.TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _CODE, env=environ, stdout=output, stderr=output
        )
        try:
            node = NodeProcess(process, port, f"http://127.0.0.1:{metrics_port}")
            if is_ready:
                await node.ready()
            yield node
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
