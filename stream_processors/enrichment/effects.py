"""What the gate has done: frozen values that the shell carries out in order, once the state is safe.

Each holds the turn as it was when the effect was decided: a later input doesn't change what is appended for an earlier.
Every effect may be carried out again: logs drop repeats, workers drop a number they have met.
"""

from dataclasses import dataclass

from schemas.ids import TurnId
from stream_processors.enrichment.state import OpenTurn


@dataclass(frozen=True, slots=True)
class AppendAccepted:
    """`turn.accepted` in the conversation log."""

    turn: OpenTurn


@dataclass(frozen=True, slots=True)
class AppendQueued:
    """`turn.queued` in the conversation log."""

    turn: OpenTurn
    ahead: int
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class AppendReset:
    """`conversation.reset` in the log, then ConversationReset with its epoch on `chat.turns`."""

    order: int
    epoch: int


@dataclass(frozen=True, slots=True)
class EndTurn:
    """`turn.ended` under attempt 0, read back; taken: TurnCompleted; not taken: an `EndLost` for the reducer."""

    turn: OpenTurn


@dataclass(frozen=True, slots=True)
class Dispatch:
    """TurnDispatched to the turn's pool under its number.

    Args:
        avoid: the worker whose engine has failed it, None = none: any other one is better.
    """

    turn: OpenTurn
    avoid: str | None = None


@dataclass(frozen=True, slots=True)
class RequestStop:
    """TurnStopRequested for one named turn, for the workers."""

    turn: TurnId


@dataclass(frozen=True, slots=True)
class AnnounceDeleted:
    """ConversationDeleted on `chat.turns`, ConversationChanged in the directory."""

    at_ms: int


@dataclass(frozen=True, slots=True)
class CloseLog:
    """ConversationChanged says `retired`, then `conversation.moved` in the own topic; a `LogClosed` for the reducer."""


@dataclass(frozen=True, slots=True)
class DeleteLog:
    """The conversation's own topic is deleted; a `LogDeleted` for the reducer."""


@dataclass(frozen=True, slots=True)
class LoadContext:
    """Ask the store for the conversation; `parent`: the turn whose chain is wanted, None = the newest."""

    parent: TurnId | None


@dataclass(frozen=True, slots=True)
class KeepContext:
    """The turn just completed belongs to the context: part of the state, kept together with it."""

    turn: TurnId


@dataclass(frozen=True, slots=True)
class KeepLoaded:
    """What was loaded belongs to the context: part of the state, kept together with it."""


@dataclass(frozen=True, slots=True)
class ForgetContext:
    """All kept turns of the conversation may go: part of the state."""


Effect = (
    AppendAccepted
    | AppendQueued
    | AppendReset
    | EndTurn
    | Dispatch
    | RequestStop
    | AnnounceDeleted
    | CloseLog
    | DeleteLog
    | LoadContext
    | KeepContext
    | KeepLoaded
    | ForgetContext
)
