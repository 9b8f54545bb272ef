"""A plain TCP balancer on loopback: each connection goes to the next server in turn that takes it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from tests.support.cuttable import pump


class Balancer:
    """Knows nothing of what it carries.

    Args:
        ports: of the servers; they may be changed at any time, for the connections that come then.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        self.ports = list(ports)
        self.led: list[int] = []
        """The server's port of each connection that came, in order."""
        self.port = 0

    async def serve(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        """One connection, until both sides have ended it."""
        for _ in range(len(self.ports)):
            port = self.ports.pop(0)
            self.ports.append(port)
            with suppress(OSError):
                far_reader, far = await asyncio.open_connection("127.0.0.1", port)
                break
        else:
            near.transport.abort()
            return
        self.led.append(port)
        await asyncio.gather(_pass_on(near_reader, far), _pass_on(far_reader, near))
        near.close()
        far.close()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        await pump(source, target)
        target.write_eof()
    except OSError:
        target.transport.abort()  # as the other side was ended, so is this one


@asynccontextmanager
async def balanced(*ports: int) -> AsyncIterator[Balancer]:
    """A balancer before these servers of this machine."""
    balancer = Balancer(ports)
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(balancer.serve(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    balancer.port = server.sockets[0].getsockname()[1]
    try:
        yield balancer
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        if serving:
            await asyncio.wait(serving)
