"""The states without Kafka: what is read, when a conversation wants a tick, and what an owner finds."""

import asyncio
from dataclasses import replace

from infra.runtime.clock import SYSTEM
from infra.runtime.metrics import Metrics
from schemas.ids import ConversationId
from stream_processors.enrichment.facts import Limits
from stream_processors.enrichment.fencing import read_stamp
from stream_processors.enrichment.state import OpenTurn, Phase, State, Status
from stream_processors.enrichment.states import States
from stream_processors.enrichment.waiting import QueueGauges
from tests.stream_processors.enrichment.simulation import OWNER
from tests.stream_processors.enrichment.still_world import memory_table
from tests.stream_processors.enrichment.test_changelog import MemoryStore
from tests.stream_processors.enrichment.world import POOL, new_conversation, new_turn


class _Bench:
    """The owner of partition 0 by a clock that stands still.

    Args:
        generation: the group's.
    """

    def __init__(self, store: MemoryStore, *, generation: int = 1) -> None:
        self.now_ms = 1_000
        self.gauges = QueueGauges(Metrics("enrichment"))
        clock = replace(SYSTEM, wall_ms=lambda: self.now_ms)
        self.states = States(memory_table("states", store), gauges=self.gauges, clock=clock, limits=Limits())
        self.states.opened(0, end=len(store.values), generation=generation)


def _active(conversation: ConversationId, deadline_ms: int = 5_000) -> State:
    turn = OpenTurn(
        turn=new_turn(conversation), status=Status.ACTIVE, order=1, deadline_ms=deadline_ms, n=1, parent=None,
        pool=POOL, dispatch=1,
    )  # fmt: skip
    return State(
        conversation=conversation, tenant=OWNER.tenant, user=OWNER.user, log=OWNER.log, phase=Phase.KNOWN, turns=(turn,)
    )


async def test_a_state_is_read_at_once() -> None:
    """What was written is the conversation's state before it is safe; None means that it isn't known."""
    states, conversation = _Bench(MemoryStore()).states, new_conversation()
    assert states.read(0, conversation) is None
    written = states.write(0, conversation, None, _active(conversation))
    assert not written.done()
    state = states.read(0, conversation)
    assert state is not None
    async with asyncio.timeout(10):
        await written
        await states.write(0, conversation, state, None)
    assert states.read(0, conversation) is None


async def test_each_due_conversation_comes_once_until_it_had_its_tick() -> None:
    """A conversation wants a tick at its turn's deadline; after the tick it is on the agenda again, changed or not."""
    bench, conversation = _Bench(MemoryStore()), new_conversation()
    bench.states.write(0, conversation, None, _active(conversation))
    assert bench.states.due(0) == []
    bench.now_ms = 5_000
    assert bench.states.due(0) == [conversation]
    assert bench.states.due(0) == []
    bench.states.ticked(0, conversation)
    assert bench.states.due(0) == []
    bench.now_ms += Limits().grace_ms
    assert bench.states.due(0) == [conversation]


async def test_a_forgotten_conversation_wants_no_tick() -> None:
    """Neither by its last state nor because the tick that forgot it is over."""
    bench, conversation = _Bench(MemoryStore()), new_conversation()
    bench.states.write(0, conversation, None, _active(conversation))
    bench.states.write(0, conversation, bench.states.read(0, conversation), None)
    bench.states.ticked(0, conversation)
    bench.now_ms = 10**12
    assert bench.states.due(0) == []


async def test_an_owner_finds_states_agenda_and_line() -> None:
    """Who opens a table reads states as they were, knows who is due and who was dispatched, and writes above it all."""
    store, conversation = MemoryStore(), new_conversation()
    first = _Bench(store, generation=7)
    state = _active(conversation)
    async with asyncio.timeout(10):
        await first.states.write(0, conversation, None, state)
    [value] = store.values.values()
    assert read_stamp(value).generation == first.states.written_under(0)
    second = _Bench(store)
    assert second.states.written_under(0) > first.states.written_under(0)
    assert second.states.read(0, conversation) == state
    assert second.gauges.dispatched(POOL) == 1
    second.now_ms = 5_000
    assert second.states.due(0) == [conversation]


async def test_a_partition_that_went_leaves_nothing() -> None:
    """No partition, no line, no tick; what isn't safe yet is the next owner's to decide."""
    bench, conversation = _Bench(MemoryStore()), new_conversation()
    written = bench.states.write(0, conversation, None, _active(conversation))
    assert list(bench.states.partitions) == [0]
    bench.states.closed()
    assert written.cancelled()
    assert list(bench.states.partitions) == []
    assert bench.gauges.dispatched(POOL) == 0
    bench.now_ms = 10**12
    assert bench.states.due(0) == []
    bench.states.ticked(0, conversation)
    bench.states.opened(0, end=0, generation=2)
    assert bench.states.read(0, conversation) is None
    assert bench.states.due(0) == []
