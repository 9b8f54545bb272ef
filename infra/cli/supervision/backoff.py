"""When a process that ended by itself is started again: soon after the first end, later after each further one."""

from dataclasses import dataclass
from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0
# Who has run that long had a good start: its next end counts as a first one. 10 s: what can't work ends while it
# starts, within a second or two; what was killed while it worked is wanted back at once, the brokers before all.
GOOD_RUN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often in a row a process has ended soon after its start."""

    failures: int = 0

    def ended(self, ran_s: float) -> tuple["Backoff", float]:
        """Return the state behind an end and the seconds to wait: 0.5, 1, 2 ... 30.

        Args:
            ran_s: how long it had done its work, 0 when it never became ready.
        """
        failures = 1 if ran_s >= GOOD_RUN_S else self.failures + 1
        # The exponent is bounded too: 2**1100 is no float.
        return Backoff(failures), min(LONGEST_S, FIRST_S * 2 ** min(failures - 1, 10))
