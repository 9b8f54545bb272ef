"""What all courses of one worker share, wired by `main`."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from inference_consumers.engines.port import Engine, Started
from inference_consumers.publishing.port import Outlet, TurnLog
from inference_consumers.scheduling.entry import Entry
from schemas.fold import TurnFold
from stream_processors.moderation.screen import Screen


class Screens(Protocol):
    """Makes output screens."""

    def screen(self, tenant: str, tier: str, released: str) -> Screen:
        """A screen that stands behind released text. It follows new policy versions until it is dropped."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What all courses of a worker share.

    Args:
        worker: this process's name, as in WorkerReported.
        engine: None in the pool `closing`, which generates nothing.
        can_continue: whether the engine goes on behind shown text; else it begins anew and what was shown is left out.
        merge_ms: least time between two deltas of a turn.
        temperature, top_p: of turns that name none.
        now_ms: milliseconds since 1970.
        fresh_id: an id that nobody else will ever make.
        jitter: a number in [0, 1).
        is_stopped: whether somebody wants the turn stopped.
        be_alone: returns once nothing but this turn is in the engine; cancelled, the turn wants it no more.
        may_release: False when this worker is dying: what it lets go of then is no hand-over.
        asks_group: whether this worker still owns the source's partition, by the group's own word.
        on_started, on_tokens: for fairness; called with the entry.
        on_end: for metrics; called once a turn was projected here.
    """

    worker: str
    engine: Engine | None
    log: TurnLog
    outlet: Outlet
    screens: Screens
    can_continue: bool
    merge_ms: float
    temperature: float
    top_p: float
    now_ms: Callable[[], int]
    fresh_id: Callable[[], str]
    jitter: Callable[[], float]
    is_stopped: Callable[[Entry], bool]
    be_alone: Callable[[Entry], Coroutine[Any, Any, None]]
    may_release: Callable[[], bool]
    asks_group: Callable[[Entry], Awaitable[bool]]
    on_started: Callable[[Entry, Started], None]
    on_tokens: Callable[[Entry, int], None]
    on_end: Callable[[TurnFold], None]
