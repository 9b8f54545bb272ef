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
from schemas.records import ContextLoaded, Record, TurnAllowed
from schemas.turns import ContextTurn
from stream_processors.enrichment.contexts import Contexts
from stream_processors.enrichment.counting import Measures
from stream_processors.enrichment.dispatcher import Dispatcher
from stream_processors.enrichment.effects import AppendQueued, Dispatch, Effect, EndTurn, LoadContext
from stream_processors.enrichment.facts import Limits
from stream_processors.enrichment.hands import Decided
from stream_processors.enrichment.inputs import EndLost
from stream_processors.enrichment.processing import Gate, Taken
from stream_processors.enrichment.requests import Requests
from stream_processors.enrichment.states import States
from stream_processors.enrichment.terms import Terms
from stream_processors.enrichment.waiting import QueueGauges
from tests.stream_processors.enrichment.still_world import NOBODY, StillFleet, memory_table, past
from tests.stream_processors.enrichment.world import allowed, new_conversation, new_turn, now


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
        requests, measures, gauges = Requests(NOBODY), Measures(), QueueGauges(self.metrics)
        fleet: Any = self.fleet
        contexts = Contexts(memory_table("contexts"), requests=requests, measures=measures, fleet=fleet)
        terms = Terms(bands={"standard": BandSettings()}, answer_tokens=512)
        self.gate = Gate(
            states=States(memory_table("states"), gauges=gauges, clock=SYSTEM, limits=Limits(**limits)),
            contexts=contexts,
            requests=requests,
            dispatcher=Dispatcher(
                contexts=contexts, requests=requests, measures=measures, fleet=fleet, gauges=gauges, clock=SYSTEM,
                limits=Limits(**limits), terms=terms,
            ),
            hands=self.hands,  # type: ignore[arg-type]
            appender=NOBODY, clock=SYSTEM, priorities=terms.priorities, on_broken=broken,
        )  # fmt: skip
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
