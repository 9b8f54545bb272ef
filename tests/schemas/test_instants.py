"""Instants are UTC with Z and three decimals, and nothing is lost on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import instants
from schemas.errors import ContractError


@given(st.integers(0, 4_102_444_800_000))
def test_round_trip(at_ms: int) -> None:
    """Milliseconds come back exactly, and the text has the contract's form."""
    text = instants.from_ms(at_ms)
    assert instants.to_ms(text) == at_ms
    assert len(text) == 24
    assert text.endswith("Z")


def test_other_offsets_are_understood() -> None:
    """An instant with another offset is the same instant."""
    assert instants.to_ms("2026-01-01T01:00:00+01:00") == instants.to_ms("2026-01-01T00:00:00.000Z")


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    """Text that names no instant, or none with a zone, is refused."""
    with pytest.raises(ContractError):
        instants.to_ms(text)
