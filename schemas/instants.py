"""Instants as the contract writes them: UTC, `Z`, three decimals. The inside counts in milliseconds since 1970."""

from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.errors import ContractError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def from_ms(at_ms: int) -> str:
    """`2026-01-31T12:00:00.000Z` for milliseconds since 1970 UTC."""
    instant = _EPOCH + at_ms * _MILLISECOND
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def to_ms(instant: str) -> int:
    """Milliseconds since 1970 UTC of an ISO 8601 instant with an offset. Raises ContractError."""
    try:
        parsed = datetime.fromisoformat(instant)
    except ValueError:
        raise ContractError(f"{instant[:40]!r} is not an ISO 8601 instant") from None
    if parsed.tzinfo is None:
        raise ContractError(f"{instant[:40]!r} names no time zone: end it with Z")
    return (parsed - _EPOCH) // _MILLISECOND
