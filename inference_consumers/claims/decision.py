"""What a worker may do with a dispatched turn, by the last claim that its log took.

Pure. Source: architecture, "The claim"; the rules were model-checked as R1-R5.
"""

from dataclasses import dataclass
from enum import Enum

from schemas.fold import TurnFold
from schemas.turns import Source


class Decision(Enum):
    """What the log says about this source.

    CLAIM: append `turn.started` with the highest attempt seen + 1.
    ENDED: project the turn and finish the source.
    REPEAT: another source holds the turn: finish this one, generate nothing.
    ZOMBIE: the same source is claimed under a later assignment: ask the group before anything else.
    """

    CLAIM = "claim"
    ENDED = "ended"
    REPEAT = "repeat"
    ZOMBIE = "zombie"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """In whose name a worker asks.

    Args:
        dispatch: number of the dispatch that the source holds.
        generation: of the group, under which the source's partition was *assigned*; a kept partition keeps it.
    """

    dispatch: int
    source: Source
    generation: int


def decide(fold: TurnFold, standing: Standing) -> Decision:
    """The one thing that may be done next. `fold` must begin before the turn's first `turn.started`."""
    last = fold.claim
    if fold.ended is not None:
        return Decision.ENDED
    if last is None or standing.dispatch > last.dispatch:
        return Decision.CLAIM
    if standing.dispatch < last.dispatch or standing.source != last.source:
        return Decision.REPEAT
    return Decision.ZOMBIE if standing.generation < last.generation else Decision.CLAIM
