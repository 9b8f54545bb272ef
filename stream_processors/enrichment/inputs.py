"""What the gate takes in: frozen values, made from records by `reading.py`, or by the gate itself where it says so."""

from dataclasses import dataclass

from schemas.ids import TurnId
from schemas.turns import LATEST, LogAddress, OnBusy, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose conversation it is and where its log lies: on every record that may be the first of a conversation."""

    tenant: str | None
    user: str
    log: LogAddress
    stored: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """The input screen let a turn pass.

    Args:
        order: offset in `chat.moderated`.
        is_new: the conversation is made with this turn, so that nobody looks for its past.
        accepted_ms: when the gateway took it, 0 = not told.
        created_ms: when the conversation was made, None = not told.
        band: priority of its tier, lower first.
        has_history: the client gave messages before its text.
    """

    turn: TurnId
    owner: Owner
    order: int
    is_new: bool
    deadline_ms: int
    accepted_ms: int = 0
    parent: str | None = LATEST
    on_busy: OnBusy = OnBusy.QUEUE
    band: int = 0
    has_history: bool = False
    created_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Allowed):
    """The input screen stopped a turn: it is accepted into its order and ends as refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable(Allowed):
    """A request that breaks the contract, of which turn and log could still be read: it ends visibly, as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetAsked:
    """The context is to begin anew."""

    owner: Owner
    order: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAsked:
    """The conversation and all its turns are to be gone."""

    owner: Owner
    order: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAsked:
    """A turn is to end; `turn` None: whichever is active when this is first read at `offset` of `chat.control`."""

    turn: TurnId | None
    offset: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What the store knows.

    Args:
        last: its newest turn of the present epoch that the next may follow.
        log_end, ended_ms: of its last end in the log: where, and when that was written, 0 = long ago.
        log: where that end is; None = not told.
        is_retired: it has no own topic any more.
        parent: the turn whose chain was asked for, None = the newest.
    """

    next_n: int = 1
    epoch: int = 0
    last: TurnId | None = None
    log_end: int | None = None
    ended_ms: int = 0
    log: LogAddress | None = None
    is_deleted: bool = False
    is_retired: bool = False
    parent: TurnId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A turn has ended and stands in `chat.turns` at `offset`; `ended_ms`: when its end was written, 0 = long ago."""

    turn: TurnId
    owner: Owner
    n: int
    epoch: int
    reason: Reason
    log_end: int
    offset: int
    ended_ms: int = 0
    parent: TurnId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A worker gave the turn back, as it was under this number.

    Args:
        failures: of engines of its pool so far; more than are known = the worker's engine has failed it.
        is_shown: something of the answer is in the log.
        worker: who gave it back, None = not told.
        discarded_tokens: made by failed engines and never shown, so far.
    """

    turn: TurnId
    dispatch: int
    offset: int
    failures: int = 0
    is_shown: bool = False
    worker: str | None = None
    discarded_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """The gate's own reset or delete was read from `chat.turns`."""

    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndLost:
    """The gate's own end was read back and isn't the one taken: the turn runs. Made by the gate's own hands.

    Args:
        dispatch: the highest number in the log.
    """

    turn: TurnId
    dispatch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogClosed:
    """The own topic's readers and all who keep the directory can know of the lane. Made by the gate's own hands.

    Args:
        offset: of `chat.conversations`, where it is said.
    """

    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDeleted:
    """The own topic is deleted. Made by the gate's own hands."""


TurnInput = Allowed | Refused | Unreadable | StopAsked | Completed | Returned | EndLost
Told = EndLost | LogClosed | LogDeleted
"""What the gate's own hands tell it."""
ConversationInput = ResetAsked | DeleteAsked | Loaded | Announced | Ticked | LogClosed | LogDeleted
Input = TurnInput | ConversationInput
