"""When an ended process is started again."""

from hypothesis import given
from hypothesis import strategies as st

from infra.cli.supervision.backoff import FIRST_S, GOOD_RUN_S, LONGEST_S, Backoff


def test_each_early_end_doubles_the_wait_up_to_the_longest() -> None:
    """0.5, 1, 2, 4, 8, 16, then 30 s for ever."""
    backoff, waits = Backoff(), []
    for _ in range(8):
        backoff, wait_s = backoff.ended(0.1)
        waits.append(wait_s)
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_good_run_begins_anew() -> None:
    """Who has worked for a while is started again at once, whatever was before."""
    assert Backoff(50).ended(GOOD_RUN_S) == (Backoff(1), FIRST_S)


@given(st.integers(0, 10**6), st.floats(0, 10**6))
def test_a_wait_is_never_out_of_bounds(failures: int, ran_s: float) -> None:
    """Whatever happened before, the wait lies between the first and the longest."""
    assert FIRST_S <= Backoff(failures).ended(ran_s)[1] <= LONGEST_S
