"""When a client comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.client.returning import FIRST_PAUSE_S, LONGEST_PAUSE_S, LOST, pause_s, refusal
from schemas.errors import ErrorCode
from schemas.frames import CloseCode


@pytest.mark.parametrize(
    ("code", "reason", "attempt", "expected"),
    [
        (CloseCode.GOING_AWAY, "retry_ms=700", 0, 0.7),
        (CloseCode.TOO_SLOW, "", 0, 0.125),
        (LOST, "", 3, 1.0),
        (LOST, "", 10_000, LONGEST_PAUSE_S / 2),
        (CloseCode.UNAUTHENTICATED, "retry_ms=1", 0, None),
        (4999, "", 0, None),
    ],
)
def test_what_a_close_code_asks(code: int, reason: str, attempt: int, expected: float | None) -> None:
    """4000-4499 and any other code come back, at the time that is asked for; 4500-4999 stay away."""
    assert pause_s(code, reason, attempt, 0.5) == expected


@given(
    st.integers(1000, 4999).filter(lambda code: code < 4500),
    st.integers(0, 100),
    st.floats(0, 1, exclude_max=True),
)
def test_the_wait_is_anywhere_below_its_bound(code: int, attempt: int, chance: float) -> None:
    """The whole of the doubling pause is used, from nothing on: those who were cut together come back apart."""
    bound_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
    assert pause_s(code, "", attempt, chance) == pytest.approx(chance * bound_s)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (CloseCode.BAD_FRAME, ErrorCode.INVALID_REQUEST),
        (CloseCode.UNAUTHENTICATED, ErrorCode.UNAUTHENTICATED),
        (CloseCode.FORBIDDEN, ErrorCode.FORBIDDEN),
        (4777, ErrorCode.FORBIDDEN),
    ],
)
def test_a_refusal_has_its_code(code: int, told: ErrorCode) -> None:
    """Who stays away learns why, by the codes of the contract."""
    assert refusal(code) is told
