"""Read, decide, claim, read again: the road to owning a turn, as a ledger that never touches the network.

Facts go in by methods, each returns the step that the shell must carry out next. One procedure is one road; a turn that
was lost takes a new one on the same view.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from inference_consumers.claims.deaths import Deaths
from inference_consumers.claims.decision import Decision, Standing, decide
from schemas.errors import InvariantBroken
from schemas.fold import TurnFold
from schemas.ids import TurnId
from schemas.records import Record, TurnStarted


@dataclass(slots=True)
class LogView:
    """What one worker has read of a turn's log.

    Args:
        fold: of all below `next_offset`.
        deaths: of its workers: what tells a turn that kills them.
    """

    fold: TurnFold
    next_offset: int
    deaths: Deaths = field(default_factory=Deaths)

    @classmethod
    def begin(cls, turn: TurnId, place: int) -> "LogView":
        """Nothing read yet, from a place before the turn's first `turn.started`."""
        return cls(TurnFold(turn), place)

    def take(self, offset: int, record: Record) -> bool:
        """Fold the next record in; one that was read before changes nothing. True when it is taken."""
        if offset < self.next_offset:
            return False
        self.next_offset = offset + 1
        is_taken = self.fold.take(record, offset)
        if record.turn == self.fold.turn:
            self.deaths.take(record, is_taken=is_taken)
        return is_taken


@dataclass(frozen=True, slots=True)
class ReadOn:
    """Read from the view's place, handing every record to `saw`, then call `read`.

    Args:
        stop: offset at which to stop at the latest; None = the end as it is now.
    """

    stop: int | None = None


@dataclass(frozen=True, slots=True)
class AppendClaim:
    """Append the record; then call `appended`, or `append_failed` when nobody can say whether it landed."""

    record: TurnStarted


@dataclass(frozen=True, slots=True)
class Owned:
    """The turn is ours under this attempt; the view stands right behind the claim: generate from its fold."""

    claim: TurnStarted


@dataclass(frozen=True, slots=True)
class Denied:
    """Nothing to generate; the decision says why and is never CLAIM."""

    decision: Decision


Step = ReadOn | AppendClaim | Owned | Denied


class ClaimProcedure:
    """One road to a turn.

    Args:
        view: what has been read of the log; moved on by this procedure.
        standing: in whose name we ask.
        write: makes our `turn.started` for an attempt, each time under a *new* id: an old one of an engine that died in
            the same generation must not pass for ours.
    """

    def __init__(self, view: LogView, standing: Standing, write: Callable[[int], TurnStarted]) -> None:
        self.view = view
        self._standing = standing
        self._write = write
        self._own: TurnStarted | None = None
        self._is_taken: bool | None = None  # None = our record has not been met

    def begin(self, *, may_skip_reading: bool) -> Step:
        """The first step.

        Args:
            may_skip_reading: the source is one that no engine of this process has met. An empty log is then assumed:
                attempt 1 can displace nobody.
        """
        if may_skip_reading and self.view.fold.highest == 0:
            return self._claim()
        return ReadOn()

    def saw(self, offset: int, record: Record) -> bool:
        """Take the next record of the log in; True: stop reading, our own was met."""
        is_taken = self.view.take(offset, record)
        if self._own is None or record.id != self._own.id or self._is_taken is not None:
            return False
        # The first record under our id decides: a resend of it that landed as well takes nothing.
        self._is_taken = is_taken
        return True

    def read(self) -> Step:
        """All that was asked for has been read."""
        own, is_taken = self._own, self._is_taken
        self._own, self._is_taken = None, None
        if own is not None and is_taken:
            return Owned(own)
        # Not taken, lost by the log, or nothing of ours yet: what was read decides, and a new claim bears a new number.
        decision = decide(self.view.fold, self._standing)
        return self._claim() if decision is Decision.CLAIM else Denied(decision)

    def appended(self, offset: int) -> Step:
        """Our claim is acknowledged at this offset."""
        if self._own is None:
            raise InvariantBroken("a claim was acknowledged that was never asked for")
        return ReadOn(offset + 1)

    def append_failed(self) -> Step:
        """Our claim may be in the log or not, now or later: nothing is ever written under its number."""
        self._own = None
        return ReadOn()

    def _claim(self) -> AppendClaim:
        self._own, self._is_taken = self._write(self.view.fold.highest + 1), None
        return AppendClaim(self._own)
