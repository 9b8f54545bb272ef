"""The context table without Kafka: what is kept, what is found again, and what must be fetched first."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import TurnId
from schemas.records import ContextLoaded, TurnCompleted
from schemas.turns import Message, Reason, Role
from stream_processors.enrichment.context import ContextEntry
from stream_processors.enrichment.contexts import Contexts
from stream_processors.enrichment.counting import Measures
from stream_processors.enrichment.planning import count_all
from stream_processors.enrichment.requests import NotAtHand, Requests
from stream_processors.enrichment.state import OpenTurn, State, Status
from tests.stream_processors.enrichment.still_world import DEPLOYMENT, NOBODY, StillFleet, memory_table, past
from tests.stream_processors.enrichment.world import POOL, allowed, new_conversation, new_turn
from tests.support.samples import sample


class _Bench:
    """The table of partition 0, and what its entries are made from."""

    def __init__(self) -> None:
        fleet: Any = StillFleet()
        self.requests, self.measures = Requests(NOBODY), Measures()
        self.contexts = Contexts(memory_table("contexts"), requests=self.requests, measures=self.measures, fleet=fleet)
        self.contexts.opened(0, end=0, generation=1)


def _entry(turn: TurnId, text: str = "q") -> ContextEntry:
    made = past(turn, 1, None)
    return ContextEntry(turn=replace(made, texts=(Message(Role.USER, text),)))


def _completed(**more: Any) -> TurnCompleted:
    completed: TurnCompleted = sample(TurnCompleted)
    return replace(completed, pool=POOL, reason=Reason.STOP, **more)


async def test_an_entry_is_found_at_once_and_written_once() -> None:
    """What is kept is found before it is safe; the same turn brought again is left as it is."""
    contexts, turn = _Bench().contexts, new_turn(new_conversation())
    assert not contexts.holds(0, turn)
    assert contexts.look_up(0, turn) is None
    written = contexts.keep(0, [_entry(turn)])
    assert [future.done() for future in written] == [False]
    assert contexts.look_up(0, turn) == _entry(turn)
    assert contexts.keep(0, [_entry(turn, "another")]) == []
    async with asyncio.timeout(10):
        await asyncio.gather(*written)
    assert contexts.holds(0, turn)
    assert contexts.look_up(0, turn) == _entry(turn)


async def test_a_large_entry_is_not_kept_in_memory() -> None:
    """A small entry is decoded once; a large one is the same each time, and made anew."""
    contexts, conversation = _Bench().contexts, new_conversation()
    small, large = new_turn(conversation), new_turn(conversation)
    contexts.keep(0, [_entry(small), _entry(large, "x" * 20_000)])
    assert contexts.look_up(0, small) is contexts.look_up(0, small)
    assert contexts.look_up(0, large) == contexts.look_up(0, large) == _entry(large, "x" * 20_000)
    assert contexts.look_up(0, large) is not contexts.look_up(0, large)


async def test_a_partition_that_went_takes_its_entries_along() -> None:
    """Nothing that was decoded outlives its partition, and what isn't safe yet is the next owner's to decide."""
    contexts, turn = _Bench().contexts, new_turn(new_conversation())
    [written] = contexts.keep(0, [_entry(turn)])
    contexts.closed()
    assert written.cancelled()
    contexts.opened(0, end=0, generation=2)
    assert contexts.look_up(0, turn) is None


async def test_what_is_loaded_is_brought_and_what_is_not_stored_is_not() -> None:
    """Loaded turns come as they are; a turn that isn't stored leaves nothing, as does any other input."""
    contexts, conversation = _Bench().contexts, new_conversation()
    turns = (past(new_turn(conversation), 1, None), past(new_turn(conversation), 2, None))
    loaded = replace(sample(ContextLoaded), turns=turns)
    assert [entry.turn for entry in contexts.brought(0, None, loaded)] == list(turns)
    assert contexts.brought(0, None, _completed(stored=False)) == []
    assert contexts.brought(0, None, allowed(conversation, "hi")) == []
    assert contexts.brought(0, None, None) == []


async def test_an_ended_turn_brings_its_texts_counted_once_all_is_at_hand() -> None:
    """History and tokenizer are fetched one after the other; then the entry has both, under the model's version."""
    bench, history = _Bench(), (Message(Role.USER, "before"),)
    asked = allowed(new_conversation(), "hi", history=history)
    completed = _completed(stored=True, turn=asked.turn, input_text="hi", output_text="yes")
    assert asked.conversation is not None
    assert asked.turn is not None
    turn = OpenTurn(turn=asked.turn, status=Status.ACTIVE, order=3, deadline_ms=9, has_history=True)
    before = State(conversation=asked.conversation, turns=(turn,))
    with pytest.raises(NotAtHand):
        bench.contexts.brought(0, before, completed)
    bench.requests.keep(0, 3, asked, 100)
    with pytest.raises(NotAtHand) as missing:
        bench.contexts.brought(0, before, completed)
    async with asyncio.timeout(10):
        await missing.value.fetched()
    [entry] = bench.contexts.brought(0, before, completed)
    assert [message.text for message in entry.turn.texts] == ["before", "hi", "yes"]
    tokens = count_all(entry.turn.texts, bench.measures.of(DEPLOYMENT))
    assert entry.counts == {DEPLOYMENT.model_version: tokens}


async def test_what_no_known_model_answered_is_not_counted() -> None:
    """A pool that is gone, or a turn without texts, needs no tokenizer."""
    contexts = _Bench().contexts
    [elsewhere] = contexts.brought(0, None, replace(_completed(stored=True), pool="gone"))
    assert elsewhere.turn.texts
    [silent] = contexts.brought(0, None, _completed(stored=True, input_text=None, output_text=None))
    assert not silent.turn.texts
    assert elsewhere.counts == silent.counts == {}


_STEPS = st.lists(st.tuples(st.sampled_from(["keep", "forget", "look", "settle"]), st.integers(0, 5)), max_size=30)


@given(_STEPS)
def test_memory_says_what_the_table_says(steps: list[tuple[str, int]]) -> None:
    """Whatever is kept and forgotten, safe or under way: each turn is found exactly while it is kept."""
    conversations = [new_conversation() for _ in range(2)]
    turns = [new_turn(conversations[number % 2]) for number in range(6)]

    async def run() -> None:
        contexts, kept = _Bench().contexts, dict[TurnId, ContextEntry]()
        for step, number in steps:
            turn = turns[number]
            match step:
                case "keep":
                    kept.setdefault(turn, _entry(turn))
                    contexts.keep(0, [_entry(turn)])
                case "forget":
                    contexts.forget(0, conversations[number % 2])
                    kept = {each: entry for each, entry in kept.items() if each not in turns[number % 2 :: 2]}
                case "look":
                    contexts.look_up(0, turn)
                case _:
                    await asyncio.sleep(0)
            assert [contexts.look_up(0, each) for each in turns] == [kept.get(each) for each in turns]
            assert [contexts.holds(0, each) for each in turns] == [each in kept for each in turns]

    asyncio.run(run())
