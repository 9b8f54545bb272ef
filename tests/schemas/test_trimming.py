"""A turn's end stays below the log's largest record."""

from schemas.topics import MAX_LOG_RECORD_BYTES
from schemas.trimming import fitted
from schemas.turns import Detail


def test_what_fits_is_kept() -> None:
    """Instructions beside a short text stay as they are."""
    detail = Detail(instructions="be brief")
    assert fitted(detail, "hello") is detail


def test_instructions_give_way_to_the_users_text() -> None:
    """Where both don't fit one record, the text stays and the instructions go; nothing else changes."""
    detail = Detail(instructions="i" * (MAX_LOG_RECORD_BYTES // 2), refusal="no", epoch=3)
    assert fitted(detail, "t" * (MAX_LOG_RECORD_BYTES // 2)) == Detail(refusal="no", epoch=3)
