"""A Maven repository over HTTP that can misbehave, and a node that costs no Java."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from infra.local import node
from infra.local.kafka import accepts
from infra.local.program import Place


@dataclass
class Repository:
    """What it serves by path, how it fails, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    status: dict[str, list[int]] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Serve one file: with ranges, after the failures it was told to make."""
        path = request.path.removeprefix("/maven/")
        self.asked.append((path, request.headers.get("Range")))
        if self.status.get(path):
            return web.Response(status=self.status[path].pop(0))
        if path not in self.files:
            return web.Response(status=404)
        body = self.files[path]
        start = int(request.headers["Range"].removeprefix("bytes=").rstrip("-")) if "Range" in request.headers else 0
        if start >= len(body):
            return web.Response(status=416)
        answer = web.StreamResponse(status=206 if start else 200, headers={"Content-Length": str(len(body) - start)})
        await answer.prepare(request)
        cut = self.cut_after.pop(path, None)
        await answer.write(body[start : start + cut] if cut else body[start:])
        if cut and request.transport is not None:
            await asyncio.sleep(0)  # the bytes go out before the line is cut
            request.transport.close()
        return answer


@pytest.fixture
async def repository() -> AsyncIterator[Repository]:
    """A repository on loopback."""
    served = Repository()
    app = web.Application()
    app.router.add_get("/{path:.*}", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/maven"
    yield served
    await runner.cleanup()


@dataclass(frozen=True, slots=True)
class TinyProgram:
    """A program of ten lines in the place of Kafka: it does what its script says."""

    script: str
    name: str = "kafka"
    title: str = "Kafka"
    version: str = "4.3.0"
    client_port: str = "client"
    other_ports: tuple[str, ...] = ("controller",)
    needed_mb: int = 1
    needed_disk_mb: int = 1

    def files(self, place: Place) -> Mapping[str, str]:
        """Return the script with its port."""
        return {"tiny.py": self.script.format(port=place.ports["client"], root=place.root)}

    def format_command(self, place: Place) -> Sequence[str] | None:
        """Return None."""
        del place
        return None

    def command(self, place: Place) -> Sequence[str]:
        """Return the command of the script."""
        return [sys.executable, "-I", "-S", "-u", str(place.root / "conf" / "tiny.py")]

    async def answers(self, port: int) -> bool:
        """Return True if it listens."""
        return await accepts(port)


LISTENS = """
import socket, signal
s = socket.create_server(("127.0.0.1", {port}))
while True:
    s.accept()[0].close()
"""


@pytest.fixture
def listening() -> TinyProgram:
    """A program that is ready when it listens."""
    return TinyProgram(LISTENS)


@pytest.fixture
def no_jars(monkeypatch: pytest.MonkeyPatch) -> None:
    """No jar is needed, so none is loaded."""

    async def nothing(what: str, jars: object, folder: Path, *, repository: str) -> int:
        return 0

    monkeypatch.setattr(node, "load", nothing)
