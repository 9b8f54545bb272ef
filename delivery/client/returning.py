"""When a client comes back after a close, and when it stays away (contract, "WebSocket"). No chance, no clock."""

import re
from collections.abc import Mapping
from typing import Final

from schemas.errors import ErrorCode
from schemas.frames import CloseCode

# A node that restarts is back in a second; one that stays away shouldn't be asked more than six times a minute.
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 10.0
LOST: Final = 1006  # what a socket that was cut without a close frame is said to have (RFC 6455 section 7.1.5)

_STAY_AWAY: Final = range(4500, 5000)
_ASKED: Final = re.compile(r"retry_ms=(\d+)")
_MOST_DOUBLINGS: Final = 10  # beyond it only the longest pause counts, and a power would overflow
_REFUSED: Final[Mapping[int, ErrorCode]] = {
    CloseCode.BAD_FRAME: ErrorCode.INVALID_REQUEST,
    CloseCode.UNAUTHENTICATED: ErrorCode.UNAUTHENTICATED,
    CloseCode.FORBIDDEN: ErrorCode.FORBIDDEN,
}


def pause_s(code: int, reason: str, attempt: int, chance: float) -> float | None:
    """Seconds until the next connection; None = stay away.

    Args:
        attempt: connections that failed since the last that worked, this one not counted.
        chance: from [0, 1). Full jitter: clients cut together spread over the whole pause, which doubles.

    Source: close codes by class, contract section 6; "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    if code in _STAY_AWAY:
        return None
    asked = _ASKED.search(reason)
    if asked is not None:
        return int(asked[1]) / 1000
    return chance * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * float(2 ** min(attempt, _MOST_DOUBLINGS)))


def refusal(code: int) -> ErrorCode:
    """The error that a code of the staying-away kind tells of; one of a later release is a lack of right."""
    return _REFUSED.get(code, ErrorCode.FORBIDDEN)
