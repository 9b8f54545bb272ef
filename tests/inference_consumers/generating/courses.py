"""Courses on a log in memory and a scripted engine."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from inference_consumers.control.policies import PoliciesInForce
from inference_consumers.engines.port import Engine, Started
from inference_consumers.generating.course import Course
from inference_consumers.generating.tools import Tools
from inference_consumers.scheduling.entry import Entry
from schemas.fold import TurnFold
from schemas.records import TurnDispatched
from schemas.turns import Options, Source
from tests.inference_consumers.memory_log import MemoryLog, MemoryOutlet
from tests.support.samples import TURN, sample

SOURCE = Source("inference.default", 0, 7)
_IDS = count()


def dispatch(**more: Any) -> TurnDispatched:
    """A first dispatch with a far deadline."""
    dispatched: TurnDispatched = sample(TurnDispatched)
    values: dict[str, Any] = {
        "dispatch": 1, "deadline_at": "2099-01-01T00:00:00.000Z", "options": Options(), "reason": None, "error": None,
        "max_attempts": 3, "interventions": (), "failures": 0, "discarded_tokens": 0, "fallback_sentence": None,
    }  # fmt: skip
    return replace(dispatched, **(values | more))


@dataclass
class Stage:
    """Where courses run."""

    engine: Engine | None
    log: MemoryLog = field(default_factory=MemoryLog)
    outlet: MemoryOutlet = field(default_factory=MemoryOutlet)
    policies: PoliciesInForce = field(default_factory=PoliciesInForce)
    stopped: bool = False
    can_continue: bool = True
    is_owner: bool = False
    worker: str = "w1"
    may_release: bool = True
    lonely: int = 0
    is_empty: asyncio.Event = field(default_factory=asyncio.Event)
    freed: int = 0
    started: list[Started] = field(default_factory=list)
    tokens: int = 0
    ended: list[TurnFold] = field(default_factory=list)

    def tools(self) -> Tools:
        """The tools of this stage; cleared, `is_empty` keeps turns waiting that want to be alone."""

        async def asks_group(_entry: Entry) -> bool:
            return self.is_owner

        async def be_alone(_entry: Entry) -> None:
            self.lonely += 1
            await self.is_empty.wait()

        def on_tokens(_entry: Entry, made: int) -> None:
            self.tokens += made

        asked: Callable[[Entry], Awaitable[bool]] = asks_group
        return Tools(
            worker=self.worker,
            engine=self.engine,
            log=self.log,
            outlet=self.outlet,
            screens=self.policies,
            can_continue=self.can_continue,
            merge_ms=0,
            temperature=0.0,
            top_p=1.0,
            now_ms=lambda: 1_700_000_000_000,
            fresh_id=lambda: f"id{next(_IDS)}",
            jitter=lambda: 0.0,
            is_stopped=lambda _entry: self.stopped,
            be_alone=be_alone,
            may_release=lambda: self.may_release,
            asks_group=asked,
            on_started=lambda _entry, started: self.started.append(started),
            on_tokens=on_tokens,
            on_end=self.ended.append,
        )

    def course(self, dispatched: TurnDispatched, *, generation: int = 5, is_new: bool = True) -> Course:
        """A course of the one source."""
        assert dispatched.conversation is not None

        def free() -> None:
            self.freed += 1

        return Course(
            self.tools(),
            Entry.of(dispatched, SOURCE, TURN, dispatched.conversation),
            dispatched,
            generation=generation,
            may_skip_reading=is_new,
            on_slot_free=free,
        )

    def fold(self) -> TurnFold:
        """What every reader sees."""
        fold = TurnFold(TURN)
        for offset, record in enumerate(self.log.records):
            fold.take(record, offset)
        return fold
