"""How often a turn's worker died under it, told by the turn's log alone.

Pure. A claim that another worker's claim displaced, and that its own worker never released, was left by a process that
died. A release counts wherever it lands: a worker that lost its partition alive writes it while its successor claims.
"""

from dataclasses import dataclass, field

from schemas.records import Record, TurnReleased, TurnStarted


@dataclass(frozen=True, slots=True)
class Toll:
    """What a turn has cost.

    Args:
        deaths: all of them: whoever else was in the engine may be to blame.
        alone: those that the turn met alone in its engine: nobody else can be to blame.
    """

    deaths: int
    alone: int


@dataclass(slots=True)
class Deaths:
    """The unclean deaths that one turn has met, as far as its log was read."""

    _last: TurnStarted | None = None
    _released: dict[str, int] = field(default_factory=dict)  # by worker: its claims up to that attempt
    _left: list[TurnStarted] = field(default_factory=list)  # displaced by another worker's claim

    def toll(self, worker: str | None) -> Toll:
        """The deaths behind a claim of this worker, be it the last one in the log or the next; it itself lives."""
        left = self._left if self._last is None else [*self._left, self._last]
        unclean = [claim for claim in left if claim.worker != worker and not self._is_released(claim)]
        return Toll(len(unclean), sum(claim.alone for claim in unclean))

    def _is_released(self, claim: TurnStarted) -> bool:
        # A claim without a name was written before workers gave theirs: it accuses nobody.
        return claim.worker is None or (claim.attempt or 0) <= self._released.get(claim.worker, 0)

    def take(self, record: Record, *, is_taken: bool) -> None:
        """Fold the turn's next record in.

        Args:
            is_taken: what the rule of the log says of it; a claim that isn't taken displaces nobody.
        """
        if isinstance(record, TurnReleased):
            # Of all its claims: it may have claimed anew, and that claim may not be in the log.
            self._released[record.worker] = max(record.attempt or 0, self._released.get(record.worker, 0))
        elif isinstance(record, TurnStarted) and is_taken:
            last, self._last = self._last, record
            if last is not None and last.worker != record.worker:  # a worker that claims again lives
                self._left.append(last)
