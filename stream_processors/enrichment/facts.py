"""What the reducer is told of the world at the moment of an input: time, plans, which pools live, what is stored."""

from collections.abc import Callable
from dataclasses import dataclass, field

from schemas.ids import TurnId
from schemas.turns import ContextTurn, Failure
from stream_processors.enrichment.inputs import Owner
from stream_processors.enrichment.state import OpenTurn


@dataclass(frozen=True, slots=True, kw_only=True)
class Fits:
    """The turn can be dispatched.

    Args:
        ahead: turns of the pool that it waits for, None = it finds a free slot. eta_s: seconds until it is its turn,
            None = unknown.
    """

    pool: str
    deployment: str
    tokens: int
    ahead: int | None = None
    eta_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unfit:
    """The turn can't be answered: no such model, or a prompt that can't fit."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Unloaded:
    """The turn's parent isn't in the context table."""

    parent: TurnId


@dataclass(frozen=True, slots=True)
class Spoken:
    """No other pool can answer the turn; a sentence is said in place of an answer."""


@dataclass(frozen=True, slots=True)
class InLine:
    """Where a dispatched turn that has hardly begun stands in its pool: see Fits."""

    ahead: int
    eta_s: float | None


Plan = Fits | Unfit | Unloaded


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one conversation; milliseconds.

    Args:
        waiting: turns that may wait; one more ends as failed at once.
        grace_ms: 30 s: a live worker ends a turn at its deadline by itself; one silent for so long behind it is gone.
        remember_ms: an hour: longer than a client or a gateway repeats a request.
        note_ms: 12 h: the longest deadline: until then a turn may come whose stop came first.
        retire_ms: after which an idle conversation leaves its own topic.
        linger_ms: how long the own topic stays behind that, for those who haven't heard.
        lanes: partitions of the lane topics.
        again_ms: after which an idle conversation is looked at again that the store hasn't caught up with.
        reload_ms: after which an unanswered load is asked for again.
        queued_ms: shortest time between two `turn.queued` of one turn.
        remembered: most ended turns that one state holds: it keeps the state of an idle conversation below 4 KB.
    """

    waiting: int = 64
    grace_ms: int = 30_000
    remember_ms: int = 3_600_000
    note_ms: int = 12 * 3_600_000
    retire_ms: int = 1_800_000
    linger_ms: int = 300_000
    lanes: int = 1
    again_ms: int = 60_000
    reload_ms: int = 10_000
    queued_ms: int = 5_000
    remembered: int = 24
    notes: int = 12
    resets: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """How far persistence has read one partition of `chat.turns` and of `chat.conversations`: committed offsets."""

    turns: int = -1
    conversations: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One moment.

    Args:
        plan: pool and prompt of a turn that could be dispatched now; pure.
        is_alive: whether a worker of that pool reported a moment ago.
        has_ended: whether the context table holds that turn's end, or the input brings it. ended: what it says.
        was_said: whether this life of the gate has decided that turn's `turn.accepted` already.
        attempts: failures of a turn's pool after which it is given up there, by its tier.
        fallback: what becomes of a turn that was given up and has shown nothing; None: it ends as failed. Pure.
        in_line: where a dispatched turn waits in its pool, None = it should have begun.
        passed: how far persistence has come on this partition.
        held_ms: since when this life of the gate has held the conversation: a turn that another has dispatched before
            is met within the idle time that follows.
        owner: whose conversation it is, if the directory has it with a topic of its own.
        turn_s: how long a turn takes of late, None = nobody knows.
    """

    now_ms: int
    plan: Callable[[OpenTurn], Plan]
    is_alive: Callable[[str], bool]
    has_ended: Callable[[TurnId], bool] = lambda _turn: False
    ended: Callable[[TurnId], ContextTurn | None] = lambda _turn: None
    was_said: Callable[[TurnId], bool] = lambda _turn: False
    attempts: Callable[[OpenTurn], int] = lambda _turn: 5
    fallback: Callable[[OpenTurn], Fits | Spoken | None] = lambda _turn: None
    in_line: Callable[[OpenTurn], InLine | None] = lambda _turn: None
    passed: Passed = field(default_factory=Passed)
    held_ms: int = 0
    owner: Owner | None = None
    turn_s: float | None = None
    limits: Limits = field(default_factory=Limits)
