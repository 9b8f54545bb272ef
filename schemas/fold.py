"""The rule of the conversation log (contract, section 4): a fold in log order, the same for every reader.

Per turn: attempt a = 0, next s = 0, ended = no. `started` with attempt n is taken if not ended and n > a: then a = n.
`delta` (n, q) is taken if not ended, n = a and q = s: then s + 1. `ended` (n) is taken if not ended, n = a and its
seq = s. `queued` only before `started`. Records with `order` are taken if it is above the highest seen. All else is
dropped.

`TurnFold` is the rule for one turn and keeps what a worker and the projections need. `ConversationFold` is the rule
for a reader of the whole conversation and keeps only what a position must hold: turns that ended are forgotten, since
a turn that isn't open takes nothing.
"""

from dataclasses import dataclass, field
from typing import Final

from schemas.ids import TurnId
from schemas.records import (
    MovedLogged,
    Record,
    ResetLogged,
    TurnAccepted,
    TurnDelta,
    TurnEnded,
    TurnQueued,
    TurnStarted,
)

# Above every offset, and the largest number that a JavaScript reader can hold: nothing is accepted behind it.
CLOSED_ORDER: Final = 2**53 - 1
"""The `order` of `conversation.moved`: the log takes no acceptance any more, whoever still writes one."""


@dataclass(slots=True)
class Cursor:
    """Where a turn's fold stands: attempt a and next seq s."""

    attempt: int = 0
    seq: int = 0

    def takes(self, record: Record) -> bool:
        """True when the rule takes the record of an open turn; the cursor has then moved.

        A taken `ended` leaves the cursor as it is: the owner of the cursor closes the turn.
        """
        match record:
            case TurnDelta(attempt=number, seq=seq) if number == self.attempt and seq == self.seq:
                self.seq += 1
            case TurnStarted(attempt=int(number)) if number > self.attempt:
                self.attempt = number
            case TurnEnded(attempt=number, seq=seq) if number == self.attempt and seq == self.seq:
                pass
            case TurnQueued() if self.attempt == 0:
                pass
            case _:
                return False
        return True


@dataclass(slots=True)
class TurnFold:
    """All that the log says of one turn, from a place before its first `turn.started`.

    Args:
        claim: the last taken `turn.started`, at offset claim_offset.
        highest: the highest attempt seen, taken or not: a new claim bears the next.
        regenerated_tokens: of deltas that were not taken before the end.
        ended: the taken `turn.ended`, at offset end_offset.
    """

    turn: TurnId
    cursor: Cursor = field(default_factory=Cursor)
    texts: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    delivered_tokens: int = 0
    regenerated_tokens: int = 0
    highest: int = 0
    claim: TurnStarted | None = None
    claim_offset: int = -1
    started_at: str | None = None
    first_token_at: str | None = None
    ended: TurnEnded | None = None
    end_offset: int = -1

    @property
    def text(self) -> str:
        """The released answer."""
        return "".join(self.texts)

    def take(self, record: Record, offset: int) -> bool:
        """Fold one record in; True when it is of this turn and taken."""
        if record.turn != self.turn or self.ended is not None:
            return False
        if isinstance(record, TurnStarted):
            self.highest = max(self.highest, record.attempt or 0)
        if not self.cursor.takes(record):
            if isinstance(record, TurnDelta):
                self.regenerated_tokens += record.tokens
            return False
        self._keep(record, offset)
        return True

    def _keep(self, record: Record, offset: int) -> None:
        match record:
            case TurnStarted():
                self.claim, self.claim_offset = record, offset
                self.started_at = self.started_at or record.at
            case TurnDelta():
                if record.channel == "text":
                    self.texts.append(record.text)
                self.token_ids.extend(record.token_ids)
                self.delivered_tokens += record.tokens
                self.first_token_at = self.first_token_at or record.at
            case TurnEnded():
                self.ended, self.end_offset = record, offset


@dataclass(slots=True)
class ConversationFold:
    """What a reader of the whole log must remember at a place in it.

    Args:
        order: the highest `order` seen, -1 before any.
        open_turns: accepted turns that have not ended, in the order of their acceptance.
    """

    order: int = -1
    open_turns: dict[TurnId, Cursor] = field(default_factory=dict)

    @property
    def is_closed(self) -> bool:
        """True behind `conversation.moved`: the conversation goes on in another log."""
        return self.order >= CLOSED_ORDER

    def take(self, record: Record) -> bool:
        """Fold one record in; False: every reader drops it."""
        match record:
            case TurnDelta() | TurnStarted() | TurnEnded() | TurnQueued():  # nearly all are deltas
                return self._take_of_turn(record)
            case TurnAccepted() | ResetLogged() | MovedLogged():
                return self._take_ordered(record)
            case _:
                return False

    def _take_ordered(self, record: TurnAccepted | ResetLogged | MovedLogged) -> bool:
        if record.order <= self.order:
            return False
        self.order = record.order
        if isinstance(record, TurnAccepted) and record.turn is not None:
            self.open_turns[record.turn] = Cursor()
        return True

    def _take_of_turn(self, record: Record) -> bool:
        turn = record.turn
        cursor = self.open_turns.get(turn) if turn is not None else None
        if turn is None or cursor is None or not cursor.takes(record):
            return False
        if isinstance(record, TurnEnded):
            del self.open_turns[turn]
        return True

    def copy(self) -> "ConversationFold":
        """An independent fold at the same place."""
        return ConversationFold(self.order, {turn: Cursor(c.attempt, c.seq) for turn, c in self.open_turns.items()})
