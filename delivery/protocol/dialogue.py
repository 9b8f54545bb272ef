"""One connection's protocol without I/O: messages in by `received`, work out by `commands`, bytes out by `outbox`.

The phases are a table. The shell tells what became of each command by the methods below; none of them waits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from delivery.protocol import client_frames
from delivery.protocol.access import Access
from delivery.protocol.client_frames import BadFrame, Misfit
from delivery.protocol.closing import CODES, Cause
from delivery.protocol.events import LogEvent
from delivery.protocol.framing import text_frame
from delivery.protocol.outbox import Outbox
from delivery.protocol.subscription import Subscription
from schemas import codec, ids, instants
from schemas.errors import ERRORS, ContractError, ErrorCode, InvariantBroken
from schemas.frames import (
    Alive,
    Authenticate,
    CloseCode,
    ErrorFrame,
    Ping,
    Pong,
    Send,
    Stop,
    Subscribe,
    Unsubscribe,
    Unsubscribed,
)
from schemas.identity import Principal
from schemas.ids import ConversationId, TurnId
from schemas.records import MovedLogged, TurnEnded


class Phase(Enum):
    """Where a connection stands."""

    ADMITTING = auto()  # upgraded; who it is is being found out
    OPEN = auto()
    CLOSED = auto()  # a close frame is due or sent; nothing follows it


class Input(Enum):
    """What moves it."""

    ADMITTED = auto()
    FRAMED = auto()
    RENEWED = auto()
    ENDED = auto()  # by a cause of ours
    LOST = auto()  # the socket is gone


NEXT: Final[Mapping[tuple[Phase, Input], Phase]] = {
    (Phase.ADMITTING, Input.ADMITTED): Phase.OPEN,
    (Phase.ADMITTING, Input.FRAMED): Phase.ADMITTING,  # kept until it is admitted
    (Phase.ADMITTING, Input.ENDED): Phase.CLOSED,
    (Phase.ADMITTING, Input.LOST): Phase.CLOSED,
    (Phase.OPEN, Input.FRAMED): Phase.OPEN,
    (Phase.OPEN, Input.RENEWED): Phase.OPEN,
    (Phase.OPEN, Input.ENDED): Phase.CLOSED,
    (Phase.OPEN, Input.LOST): Phase.CLOSED,
    # What comes late to a closed connection changes nothing.
    (Phase.CLOSED, Input.ADMITTED): Phase.CLOSED,
    (Phase.CLOSED, Input.FRAMED): Phase.CLOSED,
    (Phase.CLOSED, Input.RENEWED): Phase.CLOSED,
    (Phase.CLOSED, Input.ENDED): Phase.CLOSED,
    (Phase.CLOSED, Input.LOST): Phase.CLOSED,
}


# Read for each event of each reader (see `subscription`).
_OPEN: Final = Phase.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much one connection may hold.

    Args:
        outbox_bytes: what waits for a slow reader before it is closed with 4001; gateways carry many readers.
        subscriptions: conversations read at once; gateways have no bound.
        handed: sends and stops that wait for the gateway's answer.
    """

    outbox_bytes: int = 256 * 1024
    internal_outbox_bytes: int = 16 * 1024 * 1024
    subscriptions: int = 200
    handed: int = 32
    early_frames: int = 64


@dataclass(frozen=True, slots=True)
class Join:
    """Find the conversation's log and past, answer, then feed the subscription."""

    subscription: Subscription
    frame: Subscribe


@dataclass(frozen=True, slots=True)
class Leave:
    """Feed the subscription no more."""

    subscription: Subscription


@dataclass(frozen=True, slots=True)
class Hand:
    """Hand a send or a stop to a gateway, one after the other as they came, and answer."""

    frame: Send | Stop


@dataclass(frozen=True, slots=True)
class Renew:
    """Find out who the new token is."""

    frame: Authenticate


Command = Join | Leave | Hand | Renew


@dataclass(frozen=True, slots=True)
class Close:
    """A close frame to send behind everything in the outbox."""

    code: CloseCode
    reason: str = ""


class Dialogue:
    """The ledger of one connection.

    Args:
        bounds: how much it may hold.
        touched: the node's list of dialogues that have something to send; this one puts itself there.
    """

    __slots__ = (
        "_bounds",
        "_early",
        "_touched",
        "access",
        "closing",
        "commands",
        "handed",
        "is_touched",
        "outbox",
        "owner",
        "phase",
        "subscriptions",
    )

    def __init__(self, bounds: Bounds, touched: "list[Dialogue]") -> None:
        self._bounds = bounds
        self._touched = touched
        self._early: list[bytes] = []
        self.phase = Phase.ADMITTING
        self.access: Access | None = None
        self.outbox = Outbox(bounds.outbox_bytes)
        self.subscriptions: dict[object, Subscription] = {}
        self.commands: list[Command] = []
        self.closing: Close | None = None
        self.handed = 0
        self.is_touched = False  # the shell resets it when it sends
        self.owner: Any = None  # the shell's: whose socket this is

    # --- what the shell tells -----------------------------------------------------------------------------------------

    def admitted(self, access: Access, now_ms: int) -> None:
        """Who it is was found out: frames that came before are read now."""
        if self._move(Input.ADMITTED) is Phase.CLOSED:
            return
        self.access = access
        if access.is_internal:
            self.outbox.limit_bytes = self._bounds.internal_outbox_bytes
        early, self._early = self._early, []
        for text in early:
            self.received(text, now_ms)

    def renewed(self, access: Access, ref: str | int | None) -> None:
        """The token was good: the connection lives on under it, if it is of the same tenant and user."""
        if self._move(Input.RENEWED) is not Phase.OPEN:
            return
        before, after = self._admitted().principal, access.principal
        if _side(before) != _side(after):
            self.fault(ref, ErrorCode.FORBIDDEN, "the token is somebody else's: open another connection for it")
            return
        self.access = access
        allowed = None if after is None else after.conversations
        for subscription in list(self.subscriptions.values()):
            if allowed is not None and subscription.conversation not in allowed:
                self.refused(subscription, ErrorCode.NOT_FOUND, "no such conversation")

    def received(self, text: bytes, now_ms: int) -> None:
        """A text message came."""
        phase = self._move(Input.FRAMED)
        if phase is Phase.ADMITTING:
            if len(self._early) >= self._bounds.early_frames:
                self.end(Cause.BAD_FRAME)
            else:
                self._early.append(text)
        elif phase is Phase.OPEN:
            self._read(text, now_ms)

    def end(self, cause: Cause, reason: str = "") -> None:
        """Close for this cause, behind what already waits. A slow reader's outbox is dropped. Idempotent."""
        if self.phase is Phase.CLOSED:
            return
        self._move(Input.ENDED)
        if cause is Cause.TOO_SLOW:
            self.outbox.clear()
        self.closing = Close(CODES[cause], reason)
        self._cut_all()
        self._touch()

    def lost(self) -> None:
        """The socket is gone."""
        self._move(Input.LOST)
        self.outbox.clear()
        self._cut_all()

    # --- what is sent -------------------------------------------------------------------------------------------------

    def answer(self, frame: object) -> None:
        """Send a frame that is no event; nothing after the close."""
        self.put(text_frame(codec.encode(frame)))

    def put(self, frame: bytes) -> None:
        """Send a frame's bytes; nothing after the close."""
        if self.phase is not Phase.CLOSED:
            self.outbox.put(frame)
            self._touch()

    def fault(self, ref: str | int | None, code: ErrorCode, message: str) -> None:
        """Send an `error`."""
        self.answer(ErrorFrame(ref=ref, code=code, message=message, retriable=ERRORS[code].retriable))

    def alive(self, now_ms: int) -> None:
        """Send `alive`: nothing else was sent for a while."""
        self.answer(Alive(at=instants.from_ms(now_ms)))

    def deliver(self, subscription: Subscription, event: LogEvent) -> None:
        """Put an event behind the others; too many, and the connection is closed."""
        if self.phase is not _OPEN:
            return
        self.outbox.put_event(subscription.key, event)
        self._touch()
        if isinstance(event.record, MovedLogged):
            self._moved(subscription)
        elif subscription.turn is not None and isinstance(event.record, TurnEnded):
            self._drop(subscription)  # nothing of this turn can follow

    def check(self) -> None:
        """Close when more waits than may; the shell calls it once nothing more can be written."""
        over = self.outbox.is_over or any(each.is_overfull for each in self.subscriptions.values())
        if over and self.phase is Phase.OPEN:
            self.end(Cause.TOO_SLOW)

    def refused(self, subscription: Subscription, code: ErrorCode, message: str) -> None:
        """The subscription could not be made."""
        if not subscription.is_over:
            self.fault(subscription.ref, code, message)
            self._drop(subscription)

    def log_lost(self, subscription: Subscription) -> None:
        """The place where it was read is gone: another subscribe finds the right one."""
        if subscription.is_over:
            return
        if self._admitted().is_internal:
            self.refused(subscription, ErrorCode.UNAVAILABLE, "the log was lost here: subscribe again")
        else:
            self.end(Cause.LOG_LOST)

    def log_moved(self, subscription: Subscription) -> None:
        """The log that was found is closed: another subscribe finds the one that follows it."""
        if not subscription.is_over:
            self._moved(subscription)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _read(self, text: bytes, now_ms: int) -> None:
        try:
            frame = client_frames.read(text)
        except BadFrame as error:
            self.end(Cause.BAD_FRAME, str(error)[:120])
            return
        match frame:
            case Misfit():
                self.fault(frame.ref, ErrorCode.INVALID_REQUEST, frame.message)
            case Ping():
                self.answer(Pong(ref=frame.ref, at=instants.from_ms(now_ms)))
            case Subscribe():
                self._subscribe(frame)
            case Unsubscribe():
                self._unsubscribe(frame)
            case Send() | Stop():
                self._hand(frame)
            case Authenticate():
                self.commands.append(Renew(frame))

    def _subscribe(self, frame: Subscribe) -> None:
        access = self._admitted()
        try:
            conversation = ids.parse_conversation(frame.conversation)
            turn = None if frame.turn is None else ids.parse_turn(frame.turn)
        except ContractError as error:
            self.fault(frame.ref, ErrorCode.INVALID_REQUEST, str(error))
            return
        if not access.is_internal and (frame.turn is not None or frame.log is not None):
            self.fault(frame.ref, ErrorCode.FORBIDDEN, "`turn` and `log` are not for clients")
            return
        if not access.is_internal and len(self.subscriptions) >= self._bounds.subscriptions:
            self.fault(
                frame.ref,
                ErrorCode.OVERLOADED,
                f"a connection reads at most {self._bounds.subscriptions} conversations",
            )
            return
        if turn is not None and ids.conversation_of(turn) != conversation:
            self.fault(frame.ref, ErrorCode.NOT_FOUND, "the turn is not of this conversation")
            return
        self._join(frame, access, conversation, turn)

    def _join(self, frame: Subscribe, access: Access, conversation: ConversationId, turn: TurnId | None) -> None:
        key: object = (conversation, frame.ref) if access.is_internal else conversation
        before = self.subscriptions.get(key)
        if before is not None:
            self._drop(before)  # the client begins anew, from another place
        subscription = Subscription(
            key=key,
            ref=frame.ref,
            conversation=conversation,
            turn=turn,
            deliver=self.deliver,
            parked_limit_bytes=self.outbox.limit_bytes,
        )
        self.subscriptions[key] = subscription
        self.commands.append(Join(subscription, frame))

    def _unsubscribe(self, frame: Unsubscribe) -> None:
        internal = self._admitted().is_internal
        key: object = (frame.conversation, frame.ref) if internal else frame.conversation
        subscription = self.subscriptions.get(key)
        if subscription is not None:
            self._drop(subscription)
        self.answer(Unsubscribed(ref=frame.ref, conversation=frame.conversation))

    def _hand(self, frame: Send | Stop) -> None:
        if self._admitted().is_internal:
            self.fault(frame.ref, ErrorCode.FORBIDDEN, "a gateway sends and stops by itself")
        elif self.handed >= self._bounds.handed:
            self.fault(
                frame.ref, ErrorCode.OVERLOADED, f"{self.handed} frames of this connection wait for their answer"
            )
        else:
            self.handed += 1
            self.commands.append(Hand(frame))

    def _admitted(self) -> Access:
        if self.access is None:
            raise InvariantBroken("a frame was read before its sender was admitted")
        return self.access

    def _moved(self, subscription: Subscription) -> None:
        """The log goes on elsewhere. A gateway's other readers are left in peace."""
        if self._admitted().is_internal:
            self.answer(Unsubscribed(ref=subscription.ref, conversation=subscription.conversation))
            self._drop(subscription)
        else:
            self.end(Cause.LOG_MOVED)

    def _drop(self, subscription: Subscription) -> None:
        subscription.cut()
        if self.subscriptions.get(subscription.key) is subscription:
            del self.subscriptions[subscription.key]
        self.commands.append(Leave(subscription))

    def _cut_all(self) -> None:
        for subscription in list(self.subscriptions.values()):
            self._drop(subscription)

    def _touch(self) -> None:
        if not self.is_touched:
            self.is_touched = True
            self._touched.append(self)

    def _move(self, given: Input) -> Phase:
        following = NEXT.get((self.phase, given))
        if following is None:
            raise InvariantBroken(f"a connection that is {self.phase.name} can't be {given.name}")
        self.phase = following
        return following


def _side(principal: Principal | None) -> tuple[str, str | None] | None:
    return None if principal is None else (principal.tenant, principal.user)
