import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvariantBroken
from stream_processors.enrichment.fencing import Stamp, body, effective, read_stamp, stamped


@given(st.binary(), st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**50))
def test_a_value_gives_its_stamp_and_body_back(content: bytes, generation: int, version: int, due_ms: int) -> None:
    """Whatever the body holds, line ends included, stamp and body come back."""
    value = stamped(Stamp(generation, version, due_ms), content)
    assert read_stamp(value) == Stamp(generation, version, due_ms)
    assert body(value) == content


def test_foreign_bytes_are_a_bug() -> None:
    """A value that no gate wrote stops the gate."""
    with pytest.raises(InvariantBroken):
        read_stamp(b"{}")


@given(st.lists(st.integers(1, 50), min_size=1), st.integers(0, 1000))
def test_each_owner_writes_above_what_it_saw(generations: list[int], seen: int) -> None:
    """Also when the group's numbers begin again: successive owners that write nothing still write under rising ones."""
    for generation in sorted(set(generations)):
        assert effective(generation, seen) > seen
    rising = [effective(generation, seen) for generation in sorted(set(generations))]
    assert rising == sorted(set(rising))
