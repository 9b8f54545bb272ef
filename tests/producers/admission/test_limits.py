import pytest

from producers.admission import limits
from schemas.errors import CallerError, TooLarge


@pytest.mark.parametrize("letter", ["x", "ß", "🌍"])
def test_a_message_is_measured_in_bytes(letter: str) -> None:
    """A message of exactly the limit is taken, one letter more is not, whatever the script."""
    most = limits.MAX_MESSAGE_BYTES // len(letter.encode())
    assert limits.checked_message(letter * most, "input") == letter * most
    with pytest.raises(TooLarge) as refused:
        limits.checked_message(letter * (most + 1), "input")
    assert refused.value.param == "input"


def test_an_empty_message_says_nothing() -> None:
    """There is nothing to answer in an empty message."""
    with pytest.raises(CallerError):
        limits.checked_message("", "input")
