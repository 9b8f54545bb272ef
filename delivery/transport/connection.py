"""One WebSocket on an asyncio transport: bytes into the dialogue, its bytes out, and no task per frame."""

import asyncio
import logging
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State

from delivery.protocol.access import Access
from delivery.protocol.closing import Cause, retry_reason
from delivery.protocol.dialogue import Dialogue, Hand, Join, Leave, Phase, Renew
from delivery.protocol.subscription import Subscription
from delivery.transport.upgrade import StreamProtocol, answer
from schemas.errors import DependencyError, ErrorCode, Unauthenticated
from schemas.frames import Authenticate, Send, Stop

# How long a client may take to see a close frame before its socket is dropped.
_LINGER_S: Final = 5.0
_SWITCHING: Final = 101
# Read at each write: a class's member takes Python 3.11 ten times as long to find as a module's name.
_OPEN: Final = State.OPEN

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one socket may cost.

    Args:
        frame_bytes: largest message of a client.
        write_buffer_bytes: what may wait unsent before frames gather in the outbox (the soft limit).
        send_buffer_bytes: of the kernel, so that a reader that stops doesn't hold megabytes there.
        opening_s: until a handshake and its admission must be done.
        alive_s: silence of ours after which `alive` is sent.
        ping_s: silence of the client after which it is pinged; twice as long, and it is gone.
    """

    frame_bytes: int = 1024 * 1024
    write_buffer_bytes: int = 64 * 1024
    send_buffer_bytes: int = 256 * 1024
    opening_s: float = 10.0
    alive_s: float = 20.0
    ping_s: float = 30.0


class Node(Protocol):
    """What a connection needs of the node that holds it."""

    limits: Limits
    allowed_origins: tuple[str, ...]

    def opened(self, connection: "Connection") -> None:
        """A socket was accepted."""

    def closed(self, connection: "Connection") -> None:
        """A socket is gone."""

    def room(self, connection: "Connection", access: Access) -> bool:
        """True when the node takes this one more for its tenant."""

    def dialogue(self) -> Dialogue:
        """A fresh ledger."""

    def wall_ms(self) -> int:
        """The clock."""

    def retry_ms(self) -> int:
        """How long a client that is sent away should wait."""

    async def access(self, token: str | None) -> Access:
        """Who this is. Raises Unauthenticated or DependencyError."""

    async def join(self, dialogue: Dialogue, command: Join) -> None:
        """Carry out a subscribe."""

    def leave(self, subscription: Subscription) -> None:
        """Carry out the end of a subscription."""

    async def hand(self, access: Access, frame: Send | Stop) -> object:
        """Carry out a send or stop; returns the frame to answer with."""

    def spawn(self, work: Any, name: str) -> None:
        """Run a coroutine; its failure is the node's."""

    def flush(self) -> None:
        """Send whatever waits anywhere."""


class Connection(asyncio.Protocol):
    """A client's socket."""

    __slots__ = (
        "_drained",
        "_fragments",
        "_handing",
        "_is_paused",
        "_node",
        "_transport",
        "closes_at_s",
        "dialogue",
        "heard_at_s",
        "is_pinged",
        "opened_at_s",
        "protocol",
        "sent_at_s",
    )

    def __init__(self, node: Node) -> None:
        self._node = node
        self._transport: asyncio.Transport | None = None
        self._is_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._fragments: list[bytes] | None = None
        self._handing: deque[Send | Stop] | None = None
        self.protocol = StreamProtocol(node.limits.frame_bytes)
        self.dialogue = node.dialogue()
        self.dialogue.owner = self
        self.opened_at_s = self.heard_at_s = self.sent_at_s = time.monotonic()
        self.closes_at_s: float | None = None
        self.is_pinged = False

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket was accepted."""
        # Not asked by isinstance: uvloop's stream transports are none of asyncio's classes.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        limits = self._node.limits
        transport.set_write_buffer_limits(high=limits.write_buffer_bytes)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer_bytes)
        self._node.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.heard_at_s = time.monotonic()
        self.is_pinged = False
        self.protocol.receive_data(data)
        self._work()

    def eof_received(self) -> bool:
        """The client sends no more."""
        self.protocol.receive_eof()
        self._work()
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        """The socket is gone."""
        self._transport = None
        self.resume_writing()
        self.dialogue.lost()
        self._run_commands()
        self._node.closed(self)

    def pause_writing(self) -> None:
        """The client reads slower than we write: frames gather in the outbox from now on."""
        self._is_paused = self.dialogue.outbox.is_backed_up = True

    def resume_writing(self) -> None:
        """It has read."""
        self._is_paused = self.dialogue.outbox.is_backed_up = False
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        self.flush()

    # --- what the node calls ------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it; then the close, if one is due."""
        dialogue = self.dialogue
        if dialogue.commands:
            self._run_commands()
        transport, outbox = self._transport, dialogue.outbox
        if transport is None or self.protocol.state is not _OPEN:
            return
        if self._is_paused:
            dialogue.check()
        elif waiting := outbox.take():
            transport.write(waiting)
            self.sent_at_s = time.monotonic()
        if dialogue.closing is not None:
            if not outbox:
                self._close(dialogue.closing.code, dialogue.closing.reason)
            elif self.closes_at_s is None:
                self.closes_at_s = time.monotonic() + _LINGER_S

    async def drained(self) -> None:
        """Wait until the socket takes more, or is gone."""
        if self._is_paused and self._transport is not None:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._drained)

    def look(self, now_s: float) -> None:
        """Once a second: silence, deadlines, pings."""
        limits, dialogue = self._node.limits, self.dialogue
        if self.closes_at_s is not None and now_s >= self.closes_at_s:
            self.abort()
        elif dialogue.phase is Phase.ADMITTING and now_s - self.opened_at_s > limits.opening_s:
            if self.protocol.state is State.OPEN:
                self.end(Cause.DRAINING, retry_reason(self._node.retry_ms()))
            else:
                self.abort()
        elif dialogue.phase is Phase.OPEN:
            self._look_open(now_s)

    def end(self, cause: Cause, reason: str = "") -> None:
        """Close it for this cause."""
        self.dialogue.end(cause, reason)
        self.flush()

    def abort(self) -> None:
        """Drop the socket at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _look_open(self, now_s: float) -> None:
        limits, dialogue = self._node.limits, self.dialogue
        expires_at_ms = None if dialogue.access is None else dialogue.access.expires_at_ms
        if expires_at_ms is not None and expires_at_ms <= self._node.wall_ms():
            self.end(Cause.EXPIRED)
        elif now_s - self.heard_at_s > 2 * limits.ping_s:
            self.abort()
        elif now_s - self.heard_at_s > limits.ping_s and not self.is_pinged:
            self.is_pinged = True
            self.protocol.send_ping(b"")
            self._write_protocol()
        if now_s - self.sent_at_s >= limits.alive_s and not self._is_paused:
            dialogue.alive(self._node.wall_ms())
            self.flush()

    def _work(self) -> None:
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                self._handshake(event)
            elif isinstance(event, Frame):
                self._frame(event)
        self._write_protocol()
        self.flush()
        self._node.flush()

    def _handshake(self, request: Request) -> None:
        upgraded = answer(self.protocol, request, self._node.allowed_origins)
        self.protocol.send_response(upgraded.response)
        if upgraded.response.status_code == _SWITCHING:
            self._node.spawn(self._admit(upgraded.token), "admit")

    async def _admit(self, token: str | None) -> None:
        node, dialogue = self._node, self.dialogue
        try:
            access = await node.access(token)
        except Unauthenticated as error:
            self.end(Cause.UNAUTHENTICATED, str(error)[:120])
        except DependencyError as error:
            log.warning("admission: %s", error)
            self.end(Cause.DRAINING, retry_reason(node.retry_ms()))
        else:
            if node.room(self, access):
                dialogue.admitted(access, node.wall_ms())
                self.flush()
            else:
                self.end(Cause.TOO_MANY, retry_reason(node.retry_ms()))

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT and frame.fin:
            self.dialogue.received(bytes(frame.data), self._node.wall_ms())
        elif frame.opcode is Opcode.TEXT:
            self._fragments = [bytes(frame.data)]
        elif frame.opcode is Opcode.CONT and self._fragments is not None:
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                text, self._fragments = b"".join(self._fragments), None
                self.dialogue.received(text, self._node.wall_ms())
        elif frame.opcode in (Opcode.BINARY, Opcode.CONT):
            self.dialogue.end(Cause.BAD_FRAME, "frames are text")
        elif frame.opcode is Opcode.CLOSE:
            self.dialogue.lost()

    def _write_protocol(self) -> None:
        transport = self._transport
        for data in self.protocol.data_to_send():
            if transport is None:
                return
            if data:
                transport.write(data)
                self.sent_at_s = time.monotonic()
            else:
                transport.close()  # after what is buffered
        if self.closes_at_s is None and self.protocol.close_expected():
            self.closes_at_s = time.monotonic() + _LINGER_S

    def _close(self, code: int, reason: str) -> None:
        try:
            # 123 bytes of UTF-8 are what a close frame takes (RFC 6455 section 5.5).
            self.protocol.send_close(code, reason.encode()[:123].decode(errors="ignore"))
        except InvalidState:
            return
        self._write_protocol()

    def _run_commands(self) -> None:
        dialogue = self.dialogue
        while dialogue.commands:
            commands, dialogue.commands = dialogue.commands, []
            for command in commands:
                match command:
                    case Join():
                        self._node.spawn(self._node.join(dialogue, command), "join")
                    case Leave(subscription):
                        self._node.leave(subscription)
                    case Hand(frame):
                        self._hand(frame)
                    case Renew(frame):
                        self._node.spawn(self._renew(frame), "renew")

    def _hand(self, frame: Send | Stop) -> None:
        """One after the other, so that two messages are accepted in the order in which they were sent."""
        if self._handing is None:
            self._handing = deque()
            self._node.spawn(self._hand_all(self._handing), "hand")
        self._handing.append(frame)

    async def _hand_all(self, waiting: "deque[Send | Stop]") -> None:
        dialogue = self.dialogue
        while waiting and dialogue.phase is Phase.OPEN and dialogue.access is not None:
            frame = waiting.popleft()
            dialogue.answer(await self._node.hand(dialogue.access, frame))
            dialogue.handed -= 1
            self.flush()
        self._handing = None

    async def _renew(self, frame: Authenticate) -> None:
        dialogue = self.dialogue
        try:
            access = await self._node.access(frame.token)
        except Unauthenticated as error:
            dialogue.fault(frame.ref, ErrorCode.UNAUTHENTICATED, str(error))
        except DependencyError as error:
            log.warning("renewal: %s", error)
            dialogue.fault(frame.ref, ErrorCode.UNAVAILABLE, "the token can't be checked now: try again")
        else:
            dialogue.renewed(access, frame.ref)
        self.flush()
