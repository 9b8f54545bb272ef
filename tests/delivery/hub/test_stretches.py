"""Stretches cover what a list of offsets would, and little besides."""

from hypothesis import given
from hypothesis import strategies as st

from delivery.hub.stretches import GAP, Stretches

A, B = b"conv_a", b"conv_b"
STEPS = st.lists(st.tuples(st.sampled_from([A, B]), st.sampled_from([1, 2, GAP, GAP + 1, 300])), max_size=40)


def test_who_speaks_on_is_one_stretch() -> None:
    """Records that lie close together are one stretch, however many; a longer silence begins another."""
    stretches = Stretches(0)
    for offset in (*range(0, 4 * GAP + 1, GAP), 5000, 5001):
        stretches.saw(A, offset)
    assert stretches.within(A, 0, 10_000) == [range(4 * GAP + 1), range(5000, 5002)]
    assert stretches.within(A, 100, 5001) == [range(100, 4 * GAP + 1), range(5000, 5001)]
    assert stretches.within(B, 0, 10_000) == []
    assert stretches.entries == 2


@given(STEPS, st.integers(0, 3000), st.integers(0, 3000))
def test_every_record_is_in_a_stretch(steps: list[tuple[bytes, int]], start: int, stop: int) -> None:
    """Each record asked for lies in exactly one stretch, in order, within what was asked for; no stretch is without."""
    stretches = Stretches(0)
    lane: list[tuple[int, bytes]] = []
    offset = 0
    for conversation, step in steps:
        offset += step
        lane.append((offset, conversation))
        stretches.saw(conversation, offset)
    for conversation in (A, B):
        found = stretches.within(conversation, start, stop)
        covered = [place for stretch in found for place in stretch]
        mine = [place for place, name in lane if name == conversation and start <= place < stop]
        assert covered == sorted(set(covered))
        assert set(mine) <= set(covered) <= set(range(start, stop))
        assert len(covered) <= len(mine) * GAP + GAP
