"""Channels and their readers: decoded once, framed once, and begun at whatever place the first reader brings."""

from hypothesis import given
from hypothesis import strategies as st

from delivery.hub.lane_index import LaneIndex
from schemas.fold import ConversationFold
from schemas.records import LogRecord
from tests.delivery.hub.lanes import BOUNDS
from tests.delivery.protocol.readings import LANE, LOG, Entry, Sink, entries, hub, logged, taken, write
from tests.support.logs import TURNS, accepted, delta, started, wild_logs


def live(sink: Sink) -> None:
    """The reader has its past."""
    sink.subscription.located(-1, ConversationFold(), write)
    sink.subscription.caught_up(-1)


def test_a_record_becomes_one_frame() -> None:
    """All readers are given the same object: its bytes are made once, without token ids."""
    centre, sinks = hub(), [Sink(ref=number) for number in range(3)]
    tailed = centre.open(LOG, 0, None)
    channels = [centre.join(tailed, sink.subscription) for sink in sinks]
    for sink in sinks:
        live(sink)
    channels[0].begin(ConversationFold(), -1)
    turn = TURNS[0]
    centre.take(LOG, entries([accepted(turn, 1), started(turn, 1), delta(turn, 1, 0)]), 0.0)
    last = [sink.events[-1] for sink in sinks]
    assert last[0] is last[1] is last[2]
    assert last[0].frame is last[1].frame
    assert b"token_ids" not in last[0].frame


@given(wild_logs(), st.data())
def test_two_readers_that_begin_together_both_miss_nothing(records: list[LogRecord], data: st.DataObject) -> None:
    """Whichever of two first readers is done first, and with a later place, the other one reads on to `begun_at`."""
    log = entries(records)
    early = data.draw(st.integers(0, len(log)), label="end when the slow one joins")
    later = data.draw(st.integers(early, len(log)), label="end when the quick one joins")
    done = data.draw(st.integers(later, len(log)), label="end when the slow one is done")
    centre, slow, quick = hub(), Sink(ref=1), Sink(ref=2)
    tailed = centre.open(LOG, early, None)
    channel = centre.join(tailed, slow.subscription)
    centre.take(LOG, log[early:later], 0.0)
    centre.join(tailed, quick.subscription)
    for sink, end in ((quick, later), (slow, early)):
        sink.subscription.located(-1, ConversationFold(), write)
        for entry in log[:end]:
            sink.subscription.replay(logged(entry))
        channel.begin(sink.subscription.fold, end - 1)
        for entry in log[end : max(end, channel.begun_at + 1)]:
            sink.subscription.replay(logged(entry))
        sink.subscription.caught_up(max(end - 1, channel.begun_at))
        if sink is quick:
            centre.take(LOG, log[later:done], 0.0)
    centre.take(LOG, log[done:], 0.0)
    assert slow.offsets == quick.offsets == taken(records)


def test_a_lane_is_shared() -> None:
    """In a lane each conversation's readers get their own records; what the tail repeats comes once."""
    centre, sink = hub(), Sink()
    index = LaneIndex(0, BOUNDS, 0.0)
    channel = centre.join(centre.open(LANE, 0, index), sink.subscription)
    live(sink)
    channel.begin(ConversationFold(), -1)
    mine = entries([accepted(TURNS[0], 1), started(TURNS[0], 1)], start=5)
    other = Entry(4, b"conv_other", mine[0].value)
    centre.take(LANE, [other, *mine], 0.0)
    centre.take(LANE, mine, 0.0)
    assert sink.offsets == [5, 6]
    assert [each.offset for each in index.reading(sink.subscription.conversation, 0, 7).held] == [5, 6]


def test_unreadable_records_are_told_and_skipped() -> None:
    """A record that is none is told with its place; unknown types are ignored; what follows is read."""
    told: list[object] = []
    centre, sink = hub(told), Sink()  # type: ignore[arg-type]
    channel = centre.join(centre.open(LOG, 0, None), sink.subscription)
    live(sink)
    channel.begin(ConversationFold(), -1)
    [good] = entries([accepted(TURNS[0], 1)], start=9)
    strange = Entry(1, good.key, b'{"type":"turn.sung","version":1}')
    newer = Entry(2, good.key, b'{"type":"turn.accepted","version":2}')
    centre.take(LOG, [Entry(0, good.key, b"{"), strange, newer, Entry(3, good.key, None), good], 0.0)
    assert told == [(LOG, 0)]
    assert sink.offsets == [9]


def test_the_last_reader_leaves_the_log() -> None:
    """`leave` tells when nobody reads the log any more, and is idempotent; a closed log names its readers."""
    centre, first, second = hub(), Sink(ref=1), Sink(ref=2)
    tailed = centre.open(LOG, 0, None)
    centre.join(tailed, first.subscription)
    channel = centre.join(tailed, second.subscription)
    channel.begin(ConversationFold(), -1)
    assert not centre.leave(LOG, first.subscription)
    assert centre.leave(LOG, second.subscription)
    assert centre.leave(LOG, second.subscription)
    centre.join(tailed, first.subscription)
    assert centre.close(LOG) == (first.subscription,)
    assert not centre.leave(LOG, first.subscription)
    assert centre.log(LOG) is None
