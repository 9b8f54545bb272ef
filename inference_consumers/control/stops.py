"""Which turns somebody wants stopped, known to this worker or not, for as long as a turn can live.

Pure. A stop without a turn is for the gate: it alone knows which turn is active, and names it in a stop of its own.
"""

from collections import deque
from dataclasses import dataclass, field

from schemas.ids import TurnId


@dataclass(slots=True)
class Stops:
    """The stops of the last `horizon_ms`: the longest deadline, behind which no turn is alive."""

    horizon_ms: int
    _turns: set[TurnId] = field(default_factory=set)
    _order: deque[tuple[int, TurnId]] = field(default_factory=deque)

    def __len__(self) -> int:
        """Stops that are kept."""
        return len(self._order)

    def add(self, turn: TurnId, at_ms: int) -> None:
        """Keep a stop, made at `at_ms`; older ones than the horizon are forgotten by the way."""
        self._order.append((at_ms, turn))
        self._turns.add(turn)
        while self._order[0][0] < at_ms - self.horizon_ms:
            self._turns.discard(self._order.popleft()[1])

    def has(self, turn: TurnId) -> bool:
        """True when this turn is to end as `cancelled`."""
        return turn in self._turns
