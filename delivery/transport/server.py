"""All sockets of a node: listens, keeps count, looks at them once a second, sends them away at the end."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from delivery.access.admission import Admission
from delivery.protocol.access import Access
from delivery.protocol.closing import Cause, retry_reason
from delivery.protocol.dialogue import Bounds, Dialogue, Join
from delivery.protocol.subscription import Subscription
from delivery.relay.port import Relay
from delivery.streams import Streams
from delivery.transport.connection import Connection, Limits
from schemas.errors import ERRORS, ErrorCode, SettingsError
from schemas.frames import ErrorFrame, Send, Stop

_BACKLOG: Final = 4096  # 1 000 sockets that were cut at once come back at once
_LOOK_S: Final = 1.0
# Connections looked at without a pause: about half a millisecond.
_SLICE: Final = 1000
_DRAIN_SLICES: Final = 20

log = logging.getLogger(__name__)


class StreamServer:
    """The public side of a node.

    Args:
        max_connections: of the node. max_tenant_connections: of one tenant on it.
        drain_spread_s: over which sockets are sent away, and told to come back, at the end.
        touched: dialogues that have something to send, shared with `streams`.
    """

    def __init__(
        self,
        *,
        streams: Streams,
        admission: Admission,
        relay: Relay,
        bounds: Bounds,
        limits: Limits,
        allowed_origins: tuple[str, ...],
        max_connections: int,
        max_tenant_connections: int,
        drain_spread_s: float,
        touched: list[Dialogue],
        wall_ms: Callable[[], int],
    ) -> None:
        self.limits = limits
        self.allowed_origins = allowed_origins
        self._streams = streams
        self._admission = admission
        self._relay = relay
        self._bounds = bounds
        self._max_connections = max_connections
        self._max_tenant_connections = max_tenant_connections
        self._drain_spread_s = drain_spread_s
        self._touched = touched
        self._wall_ms = wall_ms
        self._connections: set[Connection] = set()
        self._tenants: Counter[str] = Counter()
        self._counted: dict[Connection, str] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._failed: asyncio.Future[None] | None = None
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def port(self) -> int:
        """What it listens on. Raises IndexError before `start`."""
        sockets = self._server.sockets if self._server is not None else ()
        return int(sockets[0].getsockname()[1])

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self, host: str, port: int) -> None:
        """Listen; several nodes of one machine may share the port. Raises SettingsError when it is taken."""
        loop = asyncio.get_running_loop()
        self._failed = loop.create_future()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self), host, port, reuse_port=True, backlog=_BACKLOG
            )
        except OSError as error:
            raise SettingsError(f"can't listen on {host}:{port}: {error.strerror or error}") from error
        self.spawn(self._look_all(), "look at connections")

    async def failed(self) -> None:
        """Wait for ever; raises what ended a task of ours, which is a bug."""
        if self._failed is not None:
            await asyncio.shield(self._failed)

    async def drain(self) -> None:
        """Take nobody new, and send everybody away with 4000, a few at a time."""
        if self._server is not None:
            self._server.close()
        waiting = list(self._connections)
        slices = _DRAIN_SLICES if len(waiting) >= _DRAIN_SLICES else 1
        for number in range(slices):
            for connection in waiting[number::slices]:
                connection.end(Cause.DRAINING, retry_reason(self.retry_ms()))
            if number < slices - 1:
                await asyncio.sleep(self._drain_spread_s / slices)
        while self._connections:
            self._emptied.clear()
            await self._emptied.wait()

    async def stop(self) -> None:
        """Drop every socket. Idempotent."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def revoked(self, key_id: str) -> None:
        """Close what lives by this key."""
        for connection in list(self._connections):
            access = connection.dialogue.access
            if access is not None and access.principal is not None and access.principal.key_id == key_id:
                connection.end(Cause.UNAUTHENTICATED, "the key was revoked")

    # --- what connections call ----------------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """A socket was accepted; far beyond the bound none is even asked who it is."""
        self._connections.add(connection)
        if len(self._connections) > 2 * self._max_connections:
            connection.abort()

    def closed(self, connection: Connection) -> None:
        """A socket is gone."""
        self._connections.discard(connection)
        tenant = self._counted.pop(connection, None)
        if tenant is not None:
            self._tenants[tenant] -= 1
            if not self._tenants[tenant]:
                del self._tenants[tenant]  # a node lives longer than most tenants' sockets
        if not self._connections:
            self._emptied.set()

    def room(self, connection: Connection, access: Access) -> bool:
        """True when the node takes this one more; gateways always find room, who has left meanwhile takes none."""
        if access.principal is None or connection not in self._connections:
            return True
        tenant = access.principal.tenant
        if len(self._connections) > self._max_connections or self._tenants[tenant] >= self._max_tenant_connections:
            return False
        self._tenants[tenant] += 1
        self._counted[connection] = tenant
        return True

    def dialogue(self) -> Dialogue:
        """A fresh ledger."""
        return Dialogue(self._bounds, self._touched)

    def wall_ms(self) -> int:
        """The clock."""
        return self._wall_ms()

    def retry_ms(self) -> int:
        """Somewhere in the spread, so that those sent away together don't come back together."""
        return random.randint(0, int(self._drain_spread_s * 1000))  # noqa: S311 - jitter, no secret

    async def access(self, token: str | None) -> Access:
        """Who this is. Raises Unauthenticated or DependencyError."""
        return await self._admission.access(token)

    async def join(self, dialogue: Dialogue, command: Join) -> None:
        """Carry out a subscribe."""
        await self._streams.join(dialogue, command)

    def leave(self, subscription: Subscription) -> None:
        """Carry out the end of a subscription."""
        self._streams.leave(subscription)

    async def hand(self, access: Access, frame: Send | Stop) -> object:
        """The gateway's answer to a send or stop."""
        if access.principal is None:
            code = ErrorCode.FORBIDDEN
            message = "a gateway sends and stops by itself"
            return ErrorFrame(ref=frame.ref, code=code, message=message, retriable=ERRORS[code].retriable)
        if isinstance(frame, Send):
            return await self._relay.send(access.principal, frame)
        return await self._relay.stop(access.principal, frame)

    def spawn(self, work: Any, name: str) -> None:
        """Run a coroutine; what it raises ends the node."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def flush(self) -> None:
        """Send whatever waits anywhere."""
        self._streams.flush()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def _look_all(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            connections = list(self._connections)
            for start in range(0, len(connections), _SLICE):
                now_s = time.monotonic()
                for connection in connections[start : start + _SLICE]:
                    connection.look(now_s)
                await asyncio.sleep(0)
