"""Time and chance as values: shells read them here and pass them into pure code."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Where a process takes time and randomness from; tests pass another.

    Args:
        wall_ms: milliseconds since 1970 UTC; may jump.
        monotonic_s: seconds that never go back; only differences mean something.
        entropy: that many random bytes, fit for secrets.
    """

    wall_ms: Callable[[], int]
    monotonic_s: Callable[[], float]
    entropy: Callable[[int], bytes]


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


SYSTEM = Clock(wall_ms=_wall_ms, monotonic_s=time.monotonic, entropy=os.urandom)
