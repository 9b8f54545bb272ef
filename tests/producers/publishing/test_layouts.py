from hypothesis import given
from hypothesis import strategies as st

from producers.publishing.layouts import Layout, missing_spares

COUNT = st.integers(0, 100)


@given(at_hand=COUNT, target=COUNT, live=COUNT, most=COUNT)
def test_the_bound_holds(at_hand: int, target: int, live: int, most: int) -> None:
    """Live topics and spares together never pass the bound, unless they were beyond it before."""
    made = missing_spares(Layout.ADAPTIVE, at_hand, target, live, most)
    assert made >= 0
    assert made == 0 or live + at_hand + made <= most
    assert made == 0 or at_hand + made <= target


def test_spares_are_made_in_batches() -> None:
    """Nothing is made until half are gone, then all that are missing."""
    assert missing_spares(Layout.ADAPTIVE, 17, 32, 0, 5000) == 0
    assert missing_spares(Layout.ADAPTIVE, 16, 32, 0, 5000) == 16
    assert missing_spares(Layout.LANES, 0, 32, 0, 5000) == 0
    assert missing_spares(Layout.DEDICATED, 0, 32, 9999, 5000) == 32
