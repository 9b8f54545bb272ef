import pytest

from producers.admission import limits
from schemas.errors import CallerError, TooLarge


@pytest.mark.parametrize(("letter", "size"), [("x", 1), ("ß", 2), ("🌍", 4), ('"', 2), ("\0", 6)])
def test_a_message_is_measured_as_it_is_written(letter: str, size: int) -> None:
    """A message of exactly the limit is taken, one letter more is not, whatever the script."""
    most = limits.MAX_MESSAGE_BYTES // size
    assert limits.checked_message(letter * most, "input") == letter * most
    with pytest.raises(TooLarge) as refused:
        limits.checked_message(letter * (most + 1), "input")
    assert refused.value.param == "input"


def test_an_empty_message_says_nothing() -> None:
    """There is nothing to answer in an empty message."""
    with pytest.raises(CallerError):
        limits.checked_message("", "input")


def test_what_an_end_repeats_fits_into_one_record() -> None:
    """Message, instructions and metadata stand together in a turn's end: together they have a bound."""
    half = "x" * (limits.MAX_REPEATED_BYTES // 2 - 1)
    limits.check_together(half, half, None, metadata={})
    with pytest.raises(TooLarge):
        limits.check_together(half, half, metadata={"a": "b"})
