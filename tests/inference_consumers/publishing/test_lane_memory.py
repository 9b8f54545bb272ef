"""The newest stretch of a lane."""

from hypothesis import given
from hypothesis import strategies as st

from inference_consumers.publishing.lane_memory import LaneMemory


def test_records_are_found_by_key_and_range() -> None:
    """Each conversation finds its own records of a range, in order."""
    memory = LaneMemory(1000)
    memory.begin(10)
    for offset in range(10, 16):
        memory.take(offset, b"ab"[offset % 2 : offset % 2 + 1], str(offset).encode())
    assert memory.of(b"a", 10, 16) == [(10, b"10"), (12, b"12"), (14, b"14")]
    assert memory.of(b"a", 11, 14) == [(12, b"12")]
    assert memory.of(b"c", 0, 99) == []


def test_a_gap_is_not_covered() -> None:
    """A stretch that begins before what is kept, or behind what was read, is somebody else's to read."""
    memory = LaneMemory(1000)
    memory.begin(10)
    memory.advance(20)
    assert not memory.covers(9)
    assert memory.covers(10)
    assert memory.covers(20)
    assert not memory.covers(21)


def test_the_oldest_go_first() -> None:
    """Beyond the bytes allowed the stretch begins later; what it still covers is complete."""
    memory = LaneMemory(30)
    memory.begin(0)
    for offset in range(10):
        memory.take(offset, b"k", b"x" * 10)
    assert memory.start == 7
    assert [offset for offset, _ in memory.of(b"k", 0, 10)] == [7, 8, 9]


def test_a_new_beginning_forgets() -> None:
    """After a gap nothing of the old stretch is told."""
    memory = LaneMemory(100)
    memory.take(0, b"k", b"old")
    memory.begin(50)
    assert memory.of(b"k", 0, 100) == []
    assert (memory.start, memory.stop) == (50, 50)


def test_records_without_key_or_value_only_move_the_end() -> None:
    """Tombstones and foreign records hold nothing of a turn."""
    memory = LaneMemory(100)
    memory.take(3, None, b"x")
    memory.take(4, b"k", None)
    assert memory.stop == 5
    assert memory.of(b"k", 0, 9) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40)), max_size=80), st.integers(40, 200))
def test_what_is_covered_is_whole(records: list[tuple[int, int]], room: int) -> None:
    """However large records are: from any covered place on, all of a key is there, and the room is kept."""
    memory = LaneMemory(room)
    for offset, (key, size) in enumerate(records):
        memory.take(offset, bytes([key]), b"x" * size)
    assert memory._bytes <= room
    for start in range(memory.start, len(records)):
        for key in range(4):
            wanted = [offset for offset, (each, _) in enumerate(records) if each == key and offset >= start]
            assert [offset for offset, _ in memory.of(bytes([key]), start, len(records))] == wanted
