"""What the log has said of one turn so far: a fold that HTTP answers are functions of.

Fed either from the raw log, under the rule of contract section 4, or by delivery, which has applied the rule already
and may merge deltas and repeat what came before a reconnect.
"""

from dataclasses import dataclass, field

from schemas.errors import InvariantBroken
from schemas.fold import Cursor
from schemas.ids import TurnId
from schemas.records import Record, TurnAccepted, TurnCompleted, TurnDelta, TurnEnded, TurnQueued, TurnStarted


@dataclass(frozen=True, slots=True)
class Piece:
    """Released text: the deltas `seq` to `last_seq`. `text` is empty for a channel that nobody here knows."""

    seq: int
    last_seq: int
    text: str
    tokens: int = 0


class Gapped(InvariantBroken):
    """A delta came before its predecessor: what was read isn't the log from the turn's beginning on."""


@dataclass(slots=True)
class Progress:
    """One turn as far as it was read. Text only grows; a turn that has ended takes nothing more."""

    turn: TurnId
    accepted: TurnAccepted | None = None
    queued: TurnQueued | None = None
    started: TurnStarted | None = None
    ended: TurnEnded | None = None
    pieces: list[Piece] = field(default_factory=list)
    first_delta_at: str | None = None
    _cursor: Cursor = field(default_factory=Cursor)

    @property
    def next_seq(self) -> int:
        """The seq that the next delta will have."""
        return self.pieces[-1].last_seq + 1 if self.pieces else 0

    @property
    def text(self) -> str:
        """The released answer."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def tokens(self) -> int:
        """Of the released answer."""
        return sum(piece.tokens for piece in self.pieces)

    @property
    def wait_s(self) -> float | None:
        """How long the turn was last told to wait; None when nobody said."""
        return self.queued.eta_s if self.queued is not None else None

    @property
    def is_known(self) -> bool:
        """True once the log has said anything of the turn."""
        return self.accepted is not None or self.started is not None or self.ended is not None

    def take_logged(self, record: Record) -> bool:
        """Fold in a record of the raw log; False when the rule drops it or it is of another turn."""
        if record.turn != self.turn or self.ended is not None:
            return False
        if isinstance(record, TurnAccepted):
            return self._keep(record, None)
        return self._cursor.takes(record) and self._keep(record, None)

    def take_delivered(self, record: Record, last_seq: int | None = None) -> bool:
        """Fold in what delivery sent; False for a repeat.

        Args:
            last_seq: of a merged delta, its last part's.

        Raises:
            Gapped: it begins behind what is known, or cuts a merged delta where its text can't be cut.
        """
        if record.turn != self.turn or self.ended is not None:
            return False
        if isinstance(record, TurnStarted) and self.started is not None:
            # A takeover; a repeat has no higher attempt.
            return (record.attempt or 0) > (self.started.attempt or 0) and self._keep(record, None)
        if isinstance(record, TurnDelta) and record.seq != self.next_seq:
            return self._take_overlapping(record, record.seq if last_seq is None else last_seq)
        if isinstance(record, TurnEnded) and record.seq != self.next_seq:
            raise Gapped(f"{self.turn} ended with {record.seq} deltas, {self.next_seq} are known")
        return self._keep(record, last_seq)

    def _take_overlapping(self, record: TurnDelta, last_seq: int) -> bool:
        if record.seq > self.next_seq:
            raise Gapped(f"{self.turn} goes on at delta {record.seq}, {self.next_seq} was to come")
        if last_seq < self.next_seq:
            return False
        repeated = [piece for piece in self.pieces if piece.seq >= record.seq]
        known = "".join(piece.text for piece in repeated)
        if not repeated or repeated[0].seq != record.seq or not record.text.startswith(known):
            raise Gapped(f"{self.turn}: deltas {record.seq} to {last_seq} were merged across what is known")
        tokens = record.tokens - sum(piece.tokens for piece in repeated)
        self.pieces.append(Piece(self.next_seq, last_seq, record.text[len(known) :], tokens))
        return True

    def _keep(self, record: Record, last_seq: int | None) -> bool:
        match record:
            case TurnAccepted():
                if self.accepted is not None:
                    return False
                self.accepted = record
            case TurnQueued():
                self.queued = record
            case TurnStarted():
                self.started = record
            case TurnDelta():
                text = record.text if record.channel == "text" else ""
                self.pieces.append(Piece(record.seq, record.seq if last_seq is None else last_seq, text, record.tokens))
                self.first_delta_at = self.first_delta_at or record.at
            case TurnEnded():
                self.ended = record
            case _:
                return False
        return True


def of_row(row: TurnCompleted) -> tuple[Piece, ...]:
    """The answer of a stored turn whose log is gone, as if it had been released at once."""
    return (Piece(0, 0, row.output_text, row.delivered_tokens),) if row.output_text else ()
