"""What an index says of a lane is right or unknown, never wrong, and it stays small."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from delivery.hub.lane_index import LaneIndex, Reading
from schemas.ids import ConversationId
from tests.delivery.hub.lanes import BOUNDS

A, B = ConversationId("conv_a"), ConversationId("conv_b")


def offsets(reading: Reading) -> list[int]:
    """Every offset that is read or held."""
    return [place for stretch in reading.stretches for place in stretch] + [each.offset for each in reading.held]


def test_who_was_not_heard_of_is_nowhere() -> None:
    """From `since` on an unknown conversation has nothing to read; what lies before is read whole."""
    index = LaneIndex(10, BOUNDS, 0.0)
    index.saw(A.encode(), 12, b"a")
    index.forget(20, 0.0)
    assert index.reading(B, 10, 20) == Reading((), ())
    assert index.reading(B, 4, 20) == Reading((range(4, 10),), ())
    assert offsets(index.reading(A, 10, 20)) == [12]
    assert index.reading(A, 4, 20).records == 6
    assert index.reading(A, 30, 20) == Reading((), ())


def test_what_was_not_told_yet_is_read_whole() -> None:
    """Behind the tail nobody's silence is known, from the index's begin on, and nothing is taken out of its order."""
    index = LaneIndex(10, BOUNDS, 0.0)
    assert index.reading(B, 10, 14) == Reading((range(10, 14),), ())
    index.saw(A.encode(), 12, b"a")
    index.forget(14, 0.0)
    assert index.reading(B, 10, 14) == Reading((), ())
    assert index.reading(B, 10, 20) == Reading((range(14, 20),), ())
    assert index.reading(A, 10, 20) == Reading((range(12, 13), range(14, 20)), ())
    assert index.reading(B, 16, 20) == Reading((range(16, 20),), ())


def test_what_was_read_back_stands_in_front() -> None:
    """The index then begins where the reading back began; one that doesn't reach up to it is left out."""
    index = LaneIndex(100, BOUNDS, 0.0)
    earlier = LaneIndex(20, BOUNDS, 0.0)
    earlier.saw(A.encode(), 30, b"")
    earlier.forget(99, 0.0)
    index.put_before(earlier)
    assert index.since == 100
    earlier.forget(100, 0.0)
    index.put_before(earlier)
    index.forget(200, 0.0)
    assert index.since == 20
    assert index.reading(A, 0, 200).stretches == (range(20), range(30, 31))
    assert index.reading(B, 20, 200) == Reading((), ())
    index.forget(200, BOUNDS.window_s / 2)
    assert index.since == 20
    index.forget(200, BOUNDS.window_s)
    index.forget(200, BOUNDS.window_s * 1.5)
    assert index.since == 200


def test_no_more_is_remembered_than_the_bound() -> None:
    """Where every record is another conversation's the oldest are forgotten, and a quarter less than all stays."""
    index = LaneIndex(0, replace(BOUNDS, entries=400), 0.0)
    for offset in range(5000):
        index.saw(f"conv_{offset}".encode(), offset, b"")
        index.forget(offset + 1, 0.0)
        assert index.entries <= 400
    assert index.entries >= 300
    assert index.since == 5000 - index.entries


def test_what_was_read_back_beyond_the_bound_is_not_lost_whole() -> None:
    """Of a longer past as much stays as the bound allows, the newest, and it goes a quarter at a time."""
    bounds = replace(BOUNDS, entries=400)
    index, earlier = LaneIndex(5000, bounds, 0.0), LaneIndex(0, bounds, 0.0)
    for offset in range(5000):
        earlier.saw(f"conv_{offset}".encode(), offset, b"")
        earlier.forget(offset + 1, 0.0)
    index.put_before(earlier)
    for offset in range(5000, 5200):
        index.saw(f"conv_{offset}".encode(), offset, b"")
        index.forget(offset + 1, 0.0)
        assert 300 <= index.entries <= 400
        assert index.since == offset + 1 - index.entries


@given(
    st.lists(st.tuples(st.sampled_from([A, B]), st.integers(1, 90), st.booleans()), max_size=40),
    st.integers(0, 40),
    st.integers(0, 3000),
    st.integers(0, 3000),
    st.sampled_from([0, 700, 100_000]),
    st.sampled_from([4, 12, 1000]),
)
def test_no_record_is_missed(
    lane: list[tuple[ConversationId, int, bool]],
    began: int,
    start: int,
    stop: int,
    recent_bytes: int,
    entries: int,
) -> None:
    """However it forgets and is read back, a list of the lane has no record of the conversation that it leaves out."""
    places: list[tuple[int, ConversationId]] = []
    now_s, offset = 0.0, -1
    index: LaneIndex | None = None
    bounds = replace(BOUNDS, recent_bytes=recent_bytes, entries=entries)
    for number, (conversation, step, passes) in enumerate(lane):
        if number == began:
            index = LaneIndex(offset + 1, bounds, now_s)
            since = offset // 2 if offset > 1 else 0
            earlier = LaneIndex(since, bounds, now_s)
            for place, name in places:
                if place >= since:
                    earlier.saw(name.encode(), place, b"")
                    earlier.forget(place + 1, now_s)
            earlier.forget(offset + 1, now_s)
            index.put_before(earlier)
        offset += step
        places.append((offset, conversation))
        if index is not None:
            index.saw(conversation.encode(), offset, bytes(100))
            now_s += BOUNDS.window_s / 3 if passes else 0.0
            index.forget(offset + 1, now_s)
    if index is None:
        return
    for conversation in (A, B):
        found = offsets(index.reading(conversation, start, stop))
        assert found == sorted(set(found))
        assert {place for place, name in places if name == conversation and start <= place < stop} <= set(found)
        assert set(range(max(start, offset + 1), stop)) <= set(found)
        assert all(start <= place < stop for place in found)
