"""What is held of a lane is complete from where it says, and bounded."""

from hypothesis import given
from hypothesis import strategies as st

from delivery.hub.recent_records import RecentRecords

A, B = b"conv_a", b"conv_b"


@given(
    st.lists(st.tuples(st.sampled_from([A, B]), st.integers(0, 600)), max_size=60),
    st.integers(0, 4000),
    st.integers(0, 70),
)
def test_all_that_is_held_is_complete(lane: list[tuple[bytes, int]], bound_bytes: int, stop: int) -> None:
    """From `since` on every record is there with its bytes, in order, and nothing from before is needed."""
    recent = RecentRecords(0, bound_bytes)
    for offset, (conversation, size) in enumerate(lane):
        recent.saw(conversation, offset, bytes(size))
    for conversation in (A, B):
        held = recent.within(conversation, recent.since, stop)
        assert [(each.offset, len(each.value)) for each in held] == [
            (offset, size)
            for offset, (name, size) in enumerate(lane)
            if name == conversation and recent.since <= offset < stop
        ]


@given(st.lists(st.integers(0, 600), min_size=1, max_size=60))
def test_no_more_is_held_than_the_bound(sizes: list[int]) -> None:
    """The bytes stay within the bound, which leaves room for one record at least; at half of it they are all there."""
    recent = RecentRecords(0, 3000)
    for offset, size in enumerate(sizes):
        recent.saw(A, offset, bytes(size))
    held = recent.within(A, 0, len(sizes))
    assert sum(len(each.value) + 150 for each in held) <= 3000
    assert held[-1].offset == len(sizes) - 1
    if sum(sizes) + 150 * len(sizes) <= 1500:
        assert len(held) == len(sizes)
