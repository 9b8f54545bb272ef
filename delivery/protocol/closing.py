"""Why a connection is ended, and the close code that tells the client what to do (contract, section 6)."""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from schemas.frames import CloseCode


class Cause(Enum):
    """What happened."""

    DRAINING = auto()  # this node goes away
    LOG_LOST = auto()  # the place this node read at is gone: another subscribe finds the right one
    TOO_SLOW = auto()
    LOG_MOVED = auto()
    TOO_MANY = auto()
    EXPIRED = auto()
    BAD_FRAME = auto()
    UNAUTHENTICATED = auto()
    FORBIDDEN = auto()


CODES: Final[Mapping[Cause, CloseCode]] = {
    Cause.DRAINING: CloseCode.GOING_AWAY,
    Cause.LOG_LOST: CloseCode.GOING_AWAY,
    Cause.TOO_SLOW: CloseCode.TOO_SLOW,
    Cause.LOG_MOVED: CloseCode.LOG_MOVED,
    Cause.TOO_MANY: CloseCode.TOO_MANY_CONNECTIONS,
    Cause.EXPIRED: CloseCode.TOKEN_EXPIRED,
    Cause.BAD_FRAME: CloseCode.BAD_FRAME,
    Cause.UNAUTHENTICATED: CloseCode.UNAUTHENTICATED,
    Cause.FORBIDDEN: CloseCode.FORBIDDEN,
}


def retry_reason(retry_ms: int) -> str:
    """The close reason that asks a client to wait."""
    return f"retry_ms={retry_ms}"
