"""The whole pipeline as a user runs it: `parley up` in a directory of its own, spoken to by the contract alone."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

# A whole start: two JVMs and nine Python processes on two busy cores.
START_S: Final = 180
# Answers that last: `tokens: N` takes N / 40 seconds, long enough to cut, reload and stop in.
SETTINGS: Final = {"PARLEY_SIMULATED_TOKENS_PER_S": "40", "PARLEY_SIMULATED_TTFT_MS": "20"}


@dataclass(frozen=True)
class Pipeline:
    """A running pipeline.

    Args:
        key: of the tenant `acme`.
    """

    data: Path
    port: int
    stream_port: int
    key: str
    environ: Mapping[str, str]

    @property
    def base_url(self) -> str:
        """Of the gateway, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def stream_url(self) -> str:
        """Of delivery."""
        return f"ws://127.0.0.1:{self.stream_port}/v1/stream"

    def parley(self, *arguments: str, given: str | None = None) -> str:
        """What a command prints. Raises CalledProcessError with its output when it fails."""
        return _parley(self.data, self.environ, *arguments, given=given)

    def processes(self) -> list[dict[str, Any]]:
        """`parley ps --json`."""
        listed = json.loads(self.parley("ps", "--json"))
        return list(listed)

    def process(self, role: str) -> dict[str, Any]:
        """The first process of a role."""
        return next(process for process in self.processes() if process["role"] == role)

    @property
    def kafka(self) -> str:
        """Kafka's bootstrap address."""
        return f"127.0.0.1:{self.process('kafka')['ports']['client']}"

    @property
    def cassandra(self) -> tuple[str, int]:
        """Cassandra's CQL address."""
        return "127.0.0.1", int(self.process("cassandra")["ports"]["cql"])


def _parley(data: Path, environ: Mapping[str, str], *arguments: str, given: str | None = None) -> str:
    command = [sys.executable, "-m", "infra.cli.main", *arguments, "--data", str(data)]
    done = subprocess.run(
        command,
        env={**os.environ, **environ},
        input=given,
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )
    assert done.returncode == 0, f"parley {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at present."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def start(data: Path, *arguments: str, environ: Mapping[str, str] = SETTINGS) -> Pipeline:
    """`parley up --detach` with free ports, and a key. Whatever of it runs is ended when that fails."""
    port, stream_port = free_ports(2)
    ports = ("--port", str(port), "--stream-port", str(stream_port))
    try:
        _parley(data, environ, "up", "--detach", *ports, *arguments)
        key = _parley(data, environ, "key", "create", "--tenant", "acme", "--tier", "standard").strip()
    except BaseException:
        # Detached, it would outlive whoever started it, and nobody else knows of it yet.
        _parley(data, environ, "down")
        raise
    return Pipeline(data, port, stream_port, key, environ)


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """One pipeline for all journeys of a session, on the simulated engine; tests don't break what others need."""
    running = start(
        tmp_path_factory.mktemp("up") / "data", "--engine", "simulated", "--delivery", "2", "--gateways", "2"
    )
    yield running
    running.parley("down")
