"""A Kafka and a Cassandra that belong to one test or bench alone: it may freeze, kill and start them as it likes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from infra.local.node import LocalNode, local_cassandra, local_kafka
from tests.support.brokers import LoopThread
from tests.support.pipeline import Pipeline, start


class OwnBroker:
    """One of the two. Its calls may be made from any loop: it lives in a thread of its own."""

    def __init__(self, node: LocalNode, thread: LoopThread) -> None:
        self.node = node
        self._thread = thread

    @property
    def address(self) -> tuple[str, int]:
        """Host and port for clients."""
        host, _, port = self.node.address.rpartition(":")
        return host, int(port)

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """Stopped within the block: connections stay open and nobody answers, as behind a network that is cut."""
        pid = self._pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @asynccontextmanager
    async def killed(self) -> AsyncIterator[None]:
        """Dead within the block, by SIGKILL; ready again behind it, at the same address, on the same data."""
        os.kill(self._pid, signal.SIGKILL)
        await asyncio.to_thread(self._thread.run, self._buried())
        try:
            yield
        finally:
            await asyncio.to_thread(self._thread.run, self.node.start())

    @property
    def _pid(self) -> int:
        pid = self.node.pid
        assert pid is not None
        return pid

    async def _buried(self) -> None:
        await self.node.ended()
        await self.node.stop()


@contextmanager
def breakable(place: Path, *arguments: str, environ: dict[str, str]) -> Iterator[tuple[Pipeline, OwnBroker, OwnBroker]]:
    """A whole pipeline on a Kafka and a Cassandra of its own, in this order; all gone behind the block."""
    thread = LoopThread()
    nodes = [local_kafka(place / "kafka"), local_cassandra(place / "cassandra")]
    try:
        for node in nodes:
            thread.run(node.start())
        kafka, cassandra = (OwnBroker(node, thread) for node in nodes)
        host, port = cassandra.address
        named = {
            "PARLEY_KAFKA_BOOTSTRAP": nodes[0].address,
            "PARLEY_CASSANDRA_CONTACT_POINTS": host,
            "PARLEY_CASSANDRA_PORT": str(port),
        }
        pipeline = start(place / "data", *arguments, environ={**environ, **named})
        try:
            yield pipeline, kafka, cassandra
        finally:
            pipeline.parley("down")
    finally:
        for node in nodes:
            # The data goes with it: nothing is lost by not waiting for a clean end.
            thread.run(node.stop(limit_s=0))
        thread.close()
