"""The frames of `parley.v1+json` between delivery and its clients (contract, section 6), as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Literal

from schemas.errors import ErrorCode
from schemas.turns import LogAddress

SUBPROTOCOL: Final = "parley.v1+json"


class CloseCode(IntEnum):
    """Laid out by what the client must do: below 4500 come back with your position, from 4500 on stay away."""

    GOING_AWAY = 4000
    TOO_SLOW = 4001
    LOG_MOVED = 4002
    TOO_MANY_CONNECTIONS = 4003
    TOKEN_EXPIRED = 4004
    BAD_FRAME = 4500
    UNAUTHENTICATED = 4501
    FORBIDDEN = 4503


CLOSE_MEANINGS: Final[Mapping[CloseCode, str]] = {
    CloseCode.GOING_AWAY: "this node goes away, or lost the place at which it read",
    CloseCode.TOO_SLOW: "more waited for this client than a node holds",
    CloseCode.LOG_MOVED: "the conversation's log goes on elsewhere",
    CloseCode.TOO_MANY_CONNECTIONS: "the node, or the tenant on it, has as many connections as it may",
    CloseCode.TOKEN_EXPIRED: "the credentials have expired and were not renewed: come back with fresh ones",
    CloseCode.BAD_FRAME: "what was sent is no frame of this protocol",
    CloseCode.UNAUTHENTICATED: "no key or ticket, or one that is unknown, revoked, used or too old",
    CloseCode.FORBIDDEN: "the credentials are good, the right is missing",
}


# --- client to server -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticate:
    """Renews the connection's credentials before they expire."""

    type: Literal["authenticate"] = "authenticate"
    token: str
    ref: str | int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """Read a conversation, from behind a position or with its history.

    Args:
        after: a position, None = history first.
        turn, log: for the gateway alone: that turn's events only; where an unstored conversation's log is.
    """

    type: Literal["subscribe"] = "subscribe"
    conversation: str
    ref: str | int | None = None
    after: str | None = None
    turn: str | None = None
    log: LogAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """Read it no more."""

    type: Literal["unsubscribe"] = "unsubscribe"
    conversation: str
    ref: str | int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Say something in a conversation; none: a new one is made.

    Args:
        options: how to generate, by HTTP's names for it; the gateway checks them.
    """

    type: Literal["send"] = "send"
    text: str
    ref: str | int | None = None
    conversation: str | None = None
    parent: str | None = "latest"
    model: str | None = None
    options: Mapping[str, Any] | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End a turn, or whichever is active in the conversation."""

    type: Literal["stop"] = "stop"
    ref: str | int | None = None
    turn: str | None = None
    conversation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Is anybody there?"""

    type: Literal["ping"] = "ping"
    ref: str | int | None = None


CLIENT_FRAMES: Final[Mapping[str, type]] = {
    str(kind.__dataclass_fields__["type"].default): kind
    for kind in (Authenticate, Subscribe, Unsubscribe, Send, Stop, Ping)
}
ClientFrame = Authenticate | Subscribe | Unsubscribe | Send | Stop | Ping


# --- server to client -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryMessage:
    """One whole message of the past. `item`: its id in `GET /v1/conversations/{id}/items`."""

    item: str
    turn: str
    n: int
    role: str
    text: str
    at: str
    reason: str | None = None
    parent: str | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTurn:
    """A turn that has not ended, with its text so far: live deltas go on at `seq`."""

    turn: str
    n: int
    parent: str | None
    text: str
    user: str
    at: str
    attempt: int
    seq: int
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The conversation so far: the newest whole messages, oldest first, and what is still open."""

    messages: tuple[HistoryMessage, ...]
    open_turns: tuple[OpenTurn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed:
    """`recovered`: everything behind `after` follows, once, in order. Otherwise `history` has the conversation so far.

    Args:
        before: the item from which `GET .../items?after=` goes on to older ones; None = nothing older.
    """

    type: Literal["subscribed"] = "subscribed"
    ref: str | int | None
    conversation: str
    recovered: bool
    position: str
    history: History | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribed:
    """No event of the conversation follows."""

    type: Literal["unsubscribed"] = "unsubscribed"
    ref: str | int | None
    conversation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One taken record of the log, without token ids. Merged deltas: `seq` of the first, `last_seq` of the last."""

    type: Literal["event"] = "event"
    conversation: str
    position: str
    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The message is durable: the turn will end, visibly."""

    type: Literal["accepted"] = "accepted"
    ref: str | int | None
    conversation: str
    turn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """The stop is durable; the first `turn.ended` in the log wins."""

    type: Literal["stopping"] = "stopping"
    ref: str | int | None
    turn: str | None
    conversation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """Answer to a ping."""

    type: Literal["pong"] = "pong"
    ref: str | int | None
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """Sent after 20 s of silence: browsers see no protocol pings."""

    type: Literal["alive"] = "alive"
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFrame:
    """What was wrong with a frame; the connection goes on."""

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str
    retriable: bool
    ref: str | int | None = None


SERVER_FRAMES: Final[Mapping[str, type]] = {
    str(kind.__dataclass_fields__["type"].default): kind
    for kind in (Subscribed, Unsubscribed, Event, Accepted, Stopping, Pong, Alive, ErrorFrame)
}
