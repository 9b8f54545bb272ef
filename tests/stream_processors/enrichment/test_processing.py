"""The gate's shell on tables in memory: what a step sees, what it keeps, and what it leaves to the hands."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.runtime.band_settings import BandSettings
from infra.runtime.clock import SYSTEM
from infra.runtime.metrics import Metrics
from schemas import codec, topics
from schemas.ids import TurnId
from schemas.records import ContextLoaded, DeploymentSet, Record, TurnAllowed, WorkerReported
from schemas.turns import ContextTurn, Message, Reason, Role
from stream_processors.enrichment.changelog import Changelog
from stream_processors.enrichment.composing import Scene
from stream_processors.enrichment.counting import Measures
from stream_processors.enrichment.effects import AppendQueued, Dispatch, Effect, EndTurn, LoadContext
from stream_processors.enrichment.facts import Limits
from stream_processors.enrichment.hands import Decided
from stream_processors.enrichment.inputs import EndLost
from stream_processors.enrichment.processing import Gate, Taken
from stream_processors.enrichment.requests import Requests
from stream_processors.enrichment.waiting import QueueGauges
from stream_processors.routing.fleet import Fleet, snapshot
from tests.stream_processors.enrichment.test_changelog import FakeLog, MemoryStore
from tests.stream_processors.enrichment.world import POOL, allowed, new_conversation, new_turn, now

DEPLOYMENT = DeploymentSet(
    id="d", at=now(), pool=POOL, deployment=POOL, model="simulated", model_version="1", engine="simulated",
    max_model_len=4096,
)  # fmt: skip
WORKER = WorkerReported(
    id="w", at=now(), worker="w", pool=POOL, deployment=POOL, model="simulated", model_version="1", engine="simulated",
    state="ready", slots=1, running=0, waiting=0, kv_usage=0.0, tokens_per_s=0.0,
)  # fmt: skip


class StillFleet:
    """One pool; its worker has just reported, if there is one."""

    def __init__(self) -> None:
        self.workers = [WORKER]

    def at(self, now_ms: int) -> Fleet:
        return snapshot([DEPLOYMENT], [(now_ms, worker) for worker in self.workers], now_ms)

    def deployment(self, pool: str | None) -> DeploymentSet | None:
        return DEPLOYMENT if pool == POOL else None


@dataclass
class NotingHands:
    """Carries nothing out."""

    effects: list[Effect] = field(default_factory=list)

    async def perform(self, decided: Decided) -> Sequence[EndLost]:
        self.effects += decided.effects
        return ()


class Bench:
    """A gate that owns partition 0."""

    def __init__(self, **limits: int) -> None:
        def broken(error: BaseException) -> None:
            raise error

        self.metrics = Metrics("enrichment")
        self.fleet = StillFleet()
        self.hands = NotingHands()
        tables = [Changelog(name, FakeLog().send, MemoryStore(), broken) for name in ("states", "contexts")]
        nobody: Any = None
        self.gate = Gate(
            states=tables[0], contexts=tables[1], requests=Requests(nobody), measures=Measures(),
            fleet=self.fleet, appender=nobody, clock=SYSTEM, limits=Limits(**limits),  # type: ignore[arg-type]
            bands={"standard": BandSettings()}, fallbacks={}, instructions={}, answer_tokens=512,
            gauges=QueueGauges(self.metrics), on_broken=broken,
        )  # fmt: skip
        self.gate.hands = self.hands  # type: ignore[assignment]
        self.gate.opened(0, generation=1, ends=(0, 0))
        self._offset = -1

    async def take(self, topic: str, record: Record) -> list[Effect]:
        """The effects of the record's input."""
        self._offset += 1
        self.hands.effects.clear()
        key = str(record.conversation).encode()
        await self.gate.take(
            Taken(
                topic=topic, partition=0, offset=self._offset, key=key, value=codec.encode(record), generation=1,
                ack=lambda: None,
            )
        )  # fmt: skip
        async with asyncio.timeout(10):
            await self.gate.drained()
        return list(self.hands.effects)


def past(turn: TurnId, n: int, parent: TurnId | None) -> ContextTurn:
    texts = (Message(Role.USER, f"q{n}"), Message(Role.ASSISTANT, f"a{n}"))
    return ContextTurn(turn=turn, n=n, parent=parent, epoch=0, reason=Reason.STOP, texts=texts, log_start=0, log_end=n)


def loaded(asked: TurnAllowed, *turns: ContextTurn, parent: TurnId | None = None) -> ContextLoaded:
    return ContextLoaded(
        id="l", at=now(), tenant="acme", conversation=asked.conversation, turn=parent, found=True, next_n=9, epoch=0,
        turns=turns,
    )  # fmt: skip


def kinds(effects: Sequence[Effect]) -> list[type]:
    return [type(effect) for effect in effects]


async def test_a_forgotten_conversation_is_loaded_once() -> None:
    """What was loaded serves the turn that waits for it, in the step that brings it."""
    bench = Bench()
    conversation = new_conversation()
    asked = allowed(conversation, "go on", new=False)
    assert kinds(await bench.take(topics.MODERATED, asked)) == [LoadContext]
    effects = await bench.take(topics.CONTROL, loaded(asked, past(new_turn(conversation), 8, None)))
    assert Dispatch in kinds(effects)
    assert LoadContext not in kinds(effects)


async def test_a_parent_beyond_the_newest_turns_is_found_when_its_chain_comes() -> None:
    """A turn that follows an old one asks for its chain, and goes out when the chain is there."""
    bench = Bench()
    conversation = new_conversation()
    old, newest = new_turn(conversation), new_turn(conversation)
    asked = allowed(conversation, "from there", new=False, parent=old)
    await bench.take(topics.MODERATED, asked)
    effects = await bench.take(topics.CONTROL, loaded(asked, past(newest, 8, None)))
    assert LoadContext(old) in effects
    effects = await bench.take(topics.CONTROL, loaded(asked, past(old, 2, None), parent=old))
    assert Dispatch in kinds(effects)
    assert EndTurn not in kinds(effects)


async def test_the_second_conversation_s_turn_is_queued() -> None:
    """With one slot a turn behind another is told so, before any worker reports it; the first is told nothing."""
    bench = Bench()
    first, second = allowed(new_conversation(), "a"), allowed(new_conversation(), "b")
    assert AppendQueued not in kinds(await bench.take(topics.MODERATED, first))
    [told] = [each for each in await bench.take(topics.MODERATED, second) if isinstance(each, AppendQueued)]
    assert told.ahead == 1


async def test_without_a_worker_a_turn_is_queued() -> None:
    """Nobody is before it, and yet it waits."""
    bench = Bench()
    bench.fleet.workers = []
    [told] = [
        each
        for each in await bench.take(topics.MODERATED, allowed(new_conversation(), "a"))
        if isinstance(each, AppendQueued)
    ]
    assert (told.ahead, told.eta_s) == (0, None)


async def test_a_prompt_is_kept_until_it_is_dispatched() -> None:
    """The planned prompt goes out once and is forgotten; the turn sent again has the same one, built anew."""
    bench = Bench()
    asked = allowed(new_conversation(), "a b c")
    [sent] = [each for each in await bench.take(topics.MODERATED, asked) if isinstance(each, Dispatch)]
    assert len(bench.gate._prompts) == 1
    assert asked.conversation is not None
    here = Scene(
        conversation=asked.conversation, tenant="acme", user="u1", log=asked.request.log, stored=True, at=now()
    )
    first = await bench.gate.dispatched(here, 0, sent.turn, asked)
    assert not bench.gate._prompts
    assert await bench.gate.dispatched(here, 0, sent.turn, asked) == first
