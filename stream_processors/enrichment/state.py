"""What the gate knows of one conversation: frozen values, small enough for a table, never a text.

At most 4 KB for an idle conversation, and 300 bytes more for each open turn. A turn's own words stay where they are,
in `chat.moderated` at the offset `order`; ended turns go to the context table.
"""

from dataclasses import dataclass
from enum import StrEnum

from schemas.errors import ErrorCode
from schemas.ids import ConversationId, TurnId
from schemas.turns import LATEST, LogAddress, OnBusy, Reason


class Phase(StrEnum):
    """What is known of the conversation as a whole.

    UNKNOWN: only notes about turns that were not met yet. LOADING: its past is asked for, turns are parked.
    KNOWN: its order, epoch and last turn are certain. DELETED: it ends; what still arrives ends at once.
    """

    UNKNOWN = "u"
    LOADING = "l"
    KNOWN = "k"
    DELETED = "d"


class Retirement(StrEnum):
    """What became of the conversation's own topic. A conversation that was born in a lane stays at NONE.

    NONE: the log is where it was from the first. CLOSING: the lane is the log from now on; who reads or writes the own
    topic is being told. CLOSED: all were told; it stays for those who haven't heard. GONE: it is deleted.
    """

    NONE = "n"
    CLOSING = "c"
    CLOSED = "x"
    GONE = "g"


class Status(StrEnum):
    """Where an open turn stands.

    PARKED: not accepted, its conversation's past is being loaded. WAITING: accepted, another turn is before it.
    ACTIVE: dispatched under `dispatch`. ENDING: the gate appends its end under attempt 0 and waits for TurnCompleted.
    """

    PARKED = "p"
    WAITING = "w"
    ACTIVE = "a"
    ENDING = "e"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTurn:
    """One turn that has not ended.

    Args:
        order: offset of its cause in `chat.moderated`.
        n: its place in the conversation; 0 for a turn that ended before its place could be known.
        parent: the turn it follows, None = first; LATEST only while parked.
        place: offset in the log that lies before every `turn.accepted` of it, and of all that are open when it ends;
            None = see TurnDispatched.
        accepted_ms: when the gateway took it, 0 = not told.
        tokens: of its prompt once planned.
        sent_ms: when it was last dispatched, or its end last appended.
        reason: how it ends: the gate's own end, or what `closing` is to write.
        loads: how often the past was loaded for the sake of its parent.
        failures: of engines of its pool. discarded_tokens: made by all that failed it, and never shown.
        origin: the pool that it was meant for; another than `pool` once it fell back or closes.
        is_degraded: a fallback answers, be it a pool or a sentence.
        ahead, queued_ms: what its last `turn.queued` said, and when; -1 = it waits for nobody.
    """

    turn: TurnId
    status: Status
    order: int
    deadline_ms: int
    accepted_ms: int = 0
    n: int = 0
    parent: str | None = LATEST
    epoch: int = 0
    place: int | None = None
    band: int = 0
    tokens: int = 0
    dispatch: int = 0
    pool: str | None = None
    deployment: str | None = None
    sent_ms: int = 0
    is_stopped: bool = False
    on_busy: OnBusy = OnBusy.QUEUE
    has_history: bool = False
    reason: Reason | None = None
    code: ErrorCode | None = None
    message: str | None = None
    loads: int = 0
    ahead: int = -1
    queued_ms: int = 0
    failures: int = 0
    discarded_tokens: int = 0
    origin: str | None = None
    is_degraded: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """What came before its turn did: a stop, or the highest dispatch that was given back."""

    turn: TurnId
    at_ms: int
    is_stopped: bool = False
    returned: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """A turn that has ended, remembered so that a repeat of its request starts nothing."""

    turn: TurnId
    at_ms: int


@dataclass(frozen=True, slots=True)
class Reset:
    """A reset by its order; `epoch` is the one that begins there, None while the past is loading."""

    order: int
    epoch: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One conversation.

    Args:
        next_n: place of the next accepted turn. epoch: the present context epoch.
        last: the turn accepted last in this epoch of those that did not end at once: LATEST's meaning.
        order: the highest offset of `chat.moderated` that was taken in.
        log_end: offset of the last `turn.ended` that is known to be taken.
        ends: the last ones and when each was written, 0 = long ago; oldest first, see `ordering.remember_end`.
        place: of the turn that entered last.
        turns: open ones in their order.
        load_ms: when the past was last asked for, 0 = nothing is asked.
        echo: highest offset of `chat.turns` read for this conversation: the store must have passed it to forget.
        touched_ms: when a turn last arrived or ended.
        deleted_ms: when it was deleted, 0 = it wasn't.
        stop_offset: highest offset of `chat.control` of a stop that named no turn.
        closed_ms: when the own topic was closed, 0 = it wasn't.
        announced_offset: of `chat.conversations`: the store must have passed it before the own topic is deleted.
    """

    conversation: ConversationId
    tenant: str | None = None
    user: str = ""
    log: LogAddress | None = None
    stored: bool = True
    phase: Phase = Phase.UNKNOWN
    next_n: int = 1
    epoch: int = 0
    last: TurnId | None = None
    order: int = -1
    log_end: int | None = None
    ends: tuple[tuple[int, int], ...] = ()
    place: int | None = None
    turns: tuple[OpenTurn, ...] = ()
    ended: tuple[Ended, ...] = ()
    notes: tuple[Note, ...] = ()
    resets: tuple[Reset, ...] = ()
    load_ms: int = 0
    echo: int = -1
    touched_ms: int = 0
    deleted_ms: int = 0
    stop_offset: int = -1
    retirement: Retirement = Retirement.NONE
    closed_ms: int = 0
    announced_offset: int = -1

    @property
    def active(self) -> OpenTurn | None:
        """The one dispatched turn."""
        return next((turn for turn in self.turns if turn.status is Status.ACTIVE), None)
