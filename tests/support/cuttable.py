"""A line to a server that a test cuts, holds or leads elsewhere: faults of the network, made on purpose."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_CHUNK_BYTES: Final = 64 * 1024


class CuttableLine:
    """A TCP proxy on loopback.

    Args:
        target_port: where new connections lead; 0 = nowhere, as while a server is down.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        # Of what the server says, how much each of the next connections passes on before it is cut.
        self.budgets_bytes: deque[int] = deque()
        self.connections = 0  # that came so far
        self.passed = 0  # how often something that the server said was passed on
        self.port = 0
        self._open: dict[asyncio.StreamWriter, asyncio.Event] = {}

    def cut(self) -> None:
        """Drop every connection, as a network does: no close frame, and what is under way is lost."""
        for writer in list(self._open):
            writer.transport.abort()

    def hold(self) -> None:
        """From now on the present connections pass on nothing that the server says, and stay open."""
        for flowing in self._open.values():
            flowing.clear()

    async def serve(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        """One connection, until either side or the line ends it."""
        self.connections += 1
        budget = self.budgets_bytes.popleft() if self.budgets_bytes else None
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            near.transport.abort()
            return
        flowing = self._open[near] = asyncio.Event()
        flowing.set()
        pumps = {
            asyncio.create_task(self._answer(far_reader, near, flowing, budget)),
            asyncio.create_task(_ask(near_reader, far)),
        }
        _, pending = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pending:
            pump.cancel()
        del self._open[near]
        for writer in (near, far):
            writer.transport.abort()

    async def _answer(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, flowing: asyncio.Event, budget: int | None
    ) -> None:
        with contextlib.suppress(OSError):
            while (budget is None or budget > 0) and (data := await source.read(_CHUNK_BYTES)):
                await flowing.wait()
                if budget is not None:
                    data, budget = data[:budget], budget - len(data)
                target.write(data)
                await target.drain()
                self.passed += 1


async def _ask(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await pump(source, target)


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Pass on what comes, until it ends. Raises OSError when either side is cut."""
    while data := await source.read(_CHUNK_BYTES):
        target.write(data)
        await target.drain()


@asynccontextmanager
async def cuttable(target_port: int) -> AsyncIterator[CuttableLine]:
    """A line that is open for the time of the block."""
    line = CuttableLine(target_port)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        line.cut()
        server.close()
        await server.wait_closed()
