"""Facts and words without Kafka: plans, prompts between plan and dispatch, and what turns are given up for."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from infra.runtime.band_settings import BandSettings
from infra.runtime.clock import SYSTEM
from infra.runtime.metrics import Metrics
from schemas import topics
from schemas.ids import TurnId
from schemas.records import TurnAllowed, TurnCompleted
from stream_processors.enrichment.composing import Scene
from stream_processors.enrichment.context import ContextEntry
from stream_processors.enrichment.contexts import Contexts
from stream_processors.enrichment.counting import Measures
from stream_processors.enrichment.dispatcher import Dispatcher
from stream_processors.enrichment.facts import Facts, Fits, InLine, Limits, Passed, Spoken, Unloaded
from stream_processors.enrichment.requests import NotAtHand, Requests
from stream_processors.enrichment.settings import FallbackSettings
from stream_processors.enrichment.state import OpenTurn, State, Status
from stream_processors.enrichment.terms import Terms
from stream_processors.enrichment.waiting import QueueGauges
from tests.stream_processors.enrichment.still_world import DEPLOYMENT, NOBODY, WORKER, StillFleet, memory_table, past
from tests.stream_processors.enrichment.world import POOL, allowed, new_conversation, new_turn, now
from tests.support.samples import sample

TERMS = Terms(
    bands={"standard": BandSettings(max_attempts=2, priority=4)},
    fallbacks={POOL: FallbackSettings(sentence="Sorry.")},
    instructions={"acme": "Be brief."},
    answer_tokens=512,
)


class _Bench:
    """A dispatcher of partition 0, its tokenizer closed."""

    def __init__(self) -> None:
        self.fleet = StillFleet()
        fleet: Any = self.fleet
        self.requests, self.measures = Requests(NOBODY), Measures()
        self.gauges = QueueGauges(Metrics("enrichment"))
        self.contexts = Contexts(memory_table("contexts"), requests=self.requests, measures=self.measures, fleet=fleet)
        self.contexts.opened(0, end=0, generation=1)
        self.dispatcher = Dispatcher(
            contexts=self.contexts, requests=self.requests, measures=self.measures, fleet=fleet, gauges=self.gauges,
            clock=SYSTEM, limits=Limits(), terms=TERMS,
        )  # fmt: skip

    def facts(self, *brought: ContextEntry, said: frozenset[TurnId] = frozenset()) -> Facts:
        return self.dispatcher.facts(0, brought, said=said, passed=Passed(turns=3))

    def keep(self, asked: TurnAllowed, **more: Any) -> OpenTurn:
        """The request is at hand; its turn."""
        assert asked.turn is not None
        self.requests.keep(0, 1, asked, 100)
        turn = OpenTurn(turn=asked.turn, status=Status.WAITING, order=1, deadline_ms=9, n=1, parent=None)
        return replace(turn, **more)


async def _ready() -> _Bench:
    bench = _Bench()
    async with asyncio.timeout(10):
        await bench.measures.ready(DEPLOYMENT)
    return bench


def _scene(asked: TurnAllowed) -> Scene:
    assert asked.conversation is not None
    return Scene(
        conversation=asked.conversation, tenant="acme", user="u1", log=asked.request.log, stored=True, at=now()
    )


async def test_a_plan_asks_for_what_is_not_at_hand() -> None:
    """Neither request nor tokenizer is waited for: whoever plans is told what to fetch, and then it fits."""
    bench, asked = _Bench(), allowed(new_conversation(), "a b c")
    assert asked.turn is not None
    turn = OpenTurn(turn=asked.turn, status=Status.WAITING, order=1, deadline_ms=9, n=1, parent=None)
    with pytest.raises(NotAtHand):
        bench.facts().plan(turn)
    bench.keep(asked)
    with pytest.raises(NotAtHand) as missing:
        bench.facts().plan(turn)
    async with asyncio.timeout(10):
        await missing.value.fetched()
    assert isinstance(bench.facts().plan(turn), Fits)


async def test_a_prompt_is_kept_until_it_is_dispatched() -> None:
    """The planned prompt goes out once and is forgotten; the turn sent again has the same one, built anew."""
    bench, asked = await _ready(), allowed(new_conversation(), "a b c")
    turn = bench.keep(asked)
    plan = bench.facts().plan(turn)
    assert isinstance(plan, Fits)
    sent = replace(turn, pool=plan.pool, deployment=plan.deployment, tokens=plan.tokens, dispatch=1)
    assert len(bench.dispatcher._prompts) == 1
    here = _scene(asked)
    first = await bench.dispatcher.dispatched(here, 0, sent, asked)
    assert not bench.dispatcher._prompts
    assert [message.text for message in first.messages] == ["Be brief.", "a b c"]
    assert (first.prompt_tokens, first.priority, first.fallback_sentence) == (plan.tokens, 4, "Sorry.")
    assert await bench.dispatcher.dispatched(here, 0, sent, asked) == first


async def test_a_prompt_is_built_again_when_its_model_was_never_opened() -> None:
    """After a crash nothing is planned and nothing is open: the dispatch waits for the tokenizer by itself."""
    bench, asked = _Bench(), allowed(new_conversation(), "a b c")
    turn = bench.keep(asked, pool=POOL, dispatch=1)
    async with asyncio.timeout(10):
        sent = await bench.dispatcher.dispatched(_scene(asked), 0, turn, asked)
    assert [message.text for message in sent.messages] == ["Be brief.", "a b c"]


async def test_a_turn_whose_context_is_gone_goes_out_with_its_message_alone() -> None:
    """It was planned once, so it runs: better without its past than never."""
    bench, asked = await _ready(), allowed(new_conversation(), "a b c")
    turn = bench.keep(asked, pool=POOL, dispatch=1, tokens=77, parent=new_turn(new_conversation()))
    sent = await bench.dispatcher.dispatched(_scene(asked), 0, turn, asked)
    assert [message.text for message in sent.messages] == ["a b c"]
    assert sent.prompt_tokens == 77


async def test_what_closing_gets_has_no_prompt() -> None:
    """Its engine reads none."""
    bench, asked = _Bench(), allowed(new_conversation(), "a b c")
    turn = bench.keep(asked, pool=topics.CLOSING_POOL, origin=POOL, dispatch=1)
    sent = await bench.dispatcher.dispatched(_scene(asked), 0, turn, asked)
    assert (sent.messages, sent.fallback_sentence) == ((), "Sorry.")


async def test_what_an_input_brings_is_seen_before_it_is_kept() -> None:
    """A parent that comes with the input serves the plan of the same step, and is in no table yet."""
    bench = await _ready()
    conversation = new_conversation()
    parent = new_turn(conversation)
    turn = bench.keep(allowed(conversation, "go on"), parent=parent)
    assert bench.facts().plan(turn) == Unloaded(parent)
    assert isinstance(bench.facts(ContextEntry(turn=past(parent, 1, None))).plan(turn), Fits)
    assert not bench.facts().has_ended(parent)
    bench.contexts.keep(0, [ContextEntry(turn=past(parent, 1, None))])
    assert bench.facts().has_ended(parent)
    assert isinstance(bench.facts().plan(turn), Fits)


async def test_facts_tell_what_they_were_given() -> None:
    """What was said and how far persistence came are the gate's own; attempts are the tier's; no pool, no answer."""
    bench, asked = await _ready(), allowed(new_conversation(), "hi")
    turn = bench.keep(asked, pool=POOL, origin=POOL)
    facts = bench.facts(said=frozenset({turn.turn}))
    assert facts.was_said(turn.turn)
    assert not facts.was_said(new_turn(new_conversation()))
    assert facts.passed.turns == 3
    assert facts.attempts(turn) == 2
    assert facts.fallback(turn) == Spoken()
    assert facts.is_alive(POOL)
    assert not facts.is_alive("gone")


async def test_turns_take_as_long_as_of_late() -> None:
    """The first turn is believed, each later one counts a tenth; who waits is told by it."""
    bench = await _ready()
    assert bench.facts().turn_s is None
    completed = replace(sample(TurnCompleted), turn=None, duration_ms=10_000)
    bench.dispatcher.learn(completed)
    assert bench.facts().turn_s == pytest.approx(10.0)
    bench.dispatcher.learn(replace(completed, duration_ms=20_000))
    assert bench.facts().turn_s == pytest.approx(11.0)
    first, second = (bench.keep(allowed(new_conversation(), "hi"), pool=POOL) for _ in range(2))
    for turn in (first, second):
        active = replace(turn, status=Status.ACTIVE)
        bench.gauges.moved(0, None, State(conversation=new_conversation(), turns=(active,)))
    assert bench.facts().in_line(first) is None
    waits = bench.facts().in_line(second)
    assert isinstance(waits, InLine)
    assert waits.ahead == 1
    assert waits.eta_s is not None


async def test_nobody_stands_in_line_to_be_closed() -> None:
    """A pool without a worker has a line, `closing` has none: nothing is generated there."""
    bench, asked = _Bench(), allowed(new_conversation(), "hi")
    bench.fleet.deployments.append(replace(DEPLOYMENT, pool=topics.CLOSING_POOL, engine="closing"))
    bench.fleet.workers = []
    turn = bench.keep(asked, pool=POOL)
    assert bench.facts().in_line(turn) == InLine(0, None)
    assert bench.facts().in_line(replace(turn, pool=topics.CLOSING_POOL)) is None


async def test_a_prompt_that_is_never_sent_is_let_go() -> None:
    """With its turn's end, or with its partition."""
    bench, asked = await _ready(), allowed(new_conversation(), "a b c")
    turn = bench.keep(asked)
    bench.facts().plan(turn)
    bench.dispatcher.learn(replace(sample(TurnCompleted), turn=turn.turn))
    assert not bench.dispatcher._prompts
    bench.facts().plan(turn)
    bench.dispatcher.closed()
    assert not bench.dispatcher._prompts


async def test_a_failed_turn_goes_to_another_worker_s_partition() -> None:
    """Where somebody else owns one; a pool that is gone names none."""
    bench, asked = _Bench(), allowed(new_conversation(), "hi")
    turn = bench.keep(asked, pool=POOL)
    bench.fleet.workers = [
        replace(WORKER, worker="w1", partitions=(0,)),
        replace(WORKER, worker="w2", partitions=(1,)),
    ]
    assert bench.dispatcher.elsewhere(turn, "w1") == 1
    assert bench.dispatcher.elsewhere(turn, "w2") == 0
    assert bench.dispatcher.elsewhere(replace(turn, pool="gone"), "w1") is None
