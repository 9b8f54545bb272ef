"""One subscription: every stage with every step, and the splice of past and live at any place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.protocol.subscription import NEXT, Stage, Step
from schemas.errors import InvariantBroken
from schemas.fold import ConversationFold
from schemas.records import LogRecord
from tests.delivery.protocol.readings import LOG, Sink, entries, hub, logged, taken, write
from tests.support.logs import TURNS, accepted, delta, ended, started, wild_logs


def at(stage: Stage) -> Sink:
    """A subscription in that stage."""
    sink = Sink()
    if stage in (Stage.REPLAYING, Stage.LIVE):
        sink.subscription.located(-1, ConversationFold(), write)
    if stage is Stage.LIVE:
        sink.subscription.caught_up(-1)
    if stage is Stage.OVER:
        sink.subscription.cut()
    return sink


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("step", list(Step))
def test_every_stage_with_every_step(stage: Stage, step: Step) -> None:
    """A pair in the table moves as the table says; one that isn't is a bug, and changes nothing."""
    subscription = at(stage).subscription
    steps = {
        Step.LOCATED: lambda: subscription.located(-1, ConversationFold(), write),
        Step.CAUGHT_UP: lambda: subscription.caught_up(-1),
        Step.CUT: subscription.cut,
    }
    if (stage, step) in NEXT:
        steps[step]()
        assert subscription.stage is NEXT[stage, step]
    else:
        with pytest.raises(InvariantBroken):
            steps[step]()
        assert subscription.stage is stage


@given(wild_logs(), st.data())
def test_past_and_live_meet_without_a_seam(records: list[LogRecord], data: st.DataObject) -> None:
    """Wherever a reader begins, whenever it joins and its past is read, it gets each taken record behind it once."""
    log = entries(records)
    size = len(log)
    begins = data.draw(st.integers(0, size), label="first offset it lacks")
    joins = data.draw(st.integers(begins, size), label="end when it joins")
    done = data.draw(st.integers(joins, size), label="end when its past has been read")
    centre, first, late = hub(), Sink(), Sink()
    tailed = centre.open(LOG, 0, None)
    channel = centre.join(tailed, first.subscription)
    first.subscription.located(-1, ConversationFold(), write)
    channel.begin(ConversationFold(), -1)
    first.subscription.caught_up(-1)
    centre.take(LOG, log[:joins], 0.0)
    centre.join(tailed, late.subscription)
    centre.take(LOG, log[joins:done], 0.0)
    fold = ConversationFold()
    for record in records[:begins]:
        fold.take(record)
    late.subscription.located(begins - 1, fold, write)
    for entry in log[begins:joins]:
        late.subscription.replay(logged(entry))
    late.subscription.caught_up(joins - 1)
    centre.take(LOG, log[done:], 0.0)
    expected = taken(records)
    assert first.offsets == expected
    assert late.offsets == [offset for offset in expected if offset >= begins]
    shared = {event.offset: event.position for event in first.events}
    assert all(event.position == shared[event.offset] for event in late.events)


@given(wild_logs(), st.data())
def test_a_turns_reader_gets_that_turn(records: list[LogRecord], data: st.DataObject) -> None:
    """A reader of one turn gets what the rule takes of it from the log's beginning, through its first end."""
    turn = data.draw(st.sampled_from(TURNS))
    joins = data.draw(st.integers(0, len(records)))
    log, centre, sink = entries(records), hub(), Sink(turn)
    tailed = centre.open(LOG, joins, None)
    centre.join(tailed, sink.subscription)
    centre.take(LOG, log[joins:], 0.0)
    sink.subscription.located(-1, ConversationFold(), write)
    for entry in log[:joins]:
        sink.subscription.replay(logged(entry))
    sink.subscription.caught_up(joins - 1)
    expected = [offset for offset in taken(records) if records[offset].turn == turn]
    assert sink.offsets == expected
    assert all(event.ref == 1 for event in sink.events)


def test_what_waits_is_bounded() -> None:
    """While its past is read a subscription tells when too much waits."""
    sink = Sink(limit=1000)
    turn = TURNS[0]
    for entry in entries([accepted(turn, 1), started(turn, 1), *(delta(turn, 1, seq) for seq in range(5))]):
        sink.subscription.offer(logged(entry))
    assert sink.subscription.is_overfull


def test_nothing_follows_the_cut() -> None:
    """A subscription that was cut sends nothing, whatever still comes for it."""
    sink = at(Stage.LIVE)
    sink.subscription.cut()
    turn = TURNS[0]
    for entry in entries([accepted(turn, 1), started(turn, 1), ended(turn, 1, 0)]):
        sink.subscription.offer(logged(entry))
        sink.subscription.replay(logged(entry))
    assert sink.events == []
