"""Which turns somebody wants stopped, known to this worker or not, for as long as a turn can live.

Pure. A stop without a turn names whichever was active in the conversation: those dispatched before it.
"""

from collections import deque
from dataclasses import dataclass, field

from schemas.ids import ConversationId, TurnId


@dataclass(slots=True)
class Stops:
    """The stops of the last `horizon_ms`: the longest deadline, behind which no turn is alive."""

    horizon_ms: int
    _turns: set[TurnId] = field(default_factory=set)
    _conversations: dict[ConversationId, int] = field(default_factory=dict)
    _order: deque[tuple[int, ConversationId, TurnId | None]] = field(default_factory=deque)

    def __len__(self) -> int:
        """Stops that are kept."""
        return len(self._order)

    def add(self, conversation: ConversationId, turn: TurnId | None, at_ms: int) -> None:
        """Keep a stop, made at `at_ms`; older ones than the horizon are forgotten by the way."""
        self._order.append((at_ms, conversation, turn))
        if turn is not None:
            self._turns.add(turn)
        else:
            self._conversations[conversation] = max(at_ms, self._conversations.get(conversation, 0))
        self._forget(at_ms - self.horizon_ms)

    def has(self, conversation: ConversationId, turn: TurnId, dispatched_ms: int) -> bool:
        """True when this turn, dispatched then, is to end as `cancelled`."""
        return turn in self._turns or dispatched_ms <= self._conversations.get(conversation, -1)

    def _forget(self, before_ms: int) -> None:
        while self._order and self._order[0][0] < before_ms:
            at_ms, conversation, turn = self._order.popleft()
            if turn is not None:
                self._turns.discard(turn)
            elif self._conversations.get(conversation, 0) <= at_ms:
                self._conversations.pop(conversation, None)
