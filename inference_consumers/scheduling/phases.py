"""The life of one source in a worker, as a table: its phases, what can happen in each, and what comes next."""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from schemas.errors import InvariantBroken


class Phase(Enum):
    """Where a source stands. FINISHED may be committed; LEFT is somebody else's now, or will come back."""

    WAITING = "waiting"
    CLAIMING = "claiming"
    GENERATING = "generating"
    ENDING = "ending"
    PROJECTING = "projecting"
    RETURNING = "returning"
    FINISHED = "finished"
    LEFT = "left"


class Happening(Enum):
    """What can happen to a source."""

    PICKED = "picked"  # a slot is free, or it must end without one
    OWNED = "owned"  # our claim is taken
    END_FOUND = "end found"  # the log holds its end
    REPEAT_FOUND = "repeat found"  # another source holds it
    ANSWER_DONE = "answer done"  # the engine or a reason says how it ends
    ATTEMPT_LOST = "attempt lost"  # an append failed, a delta or our end was not taken
    END_TAKEN = "end taken"
    PROJECTED = "projected"  # TurnCompleted and UsageRecorded are acknowledged
    GIVEN_BACK = "given back"  # unstarted, or its engine failed: TurnReturned is to be appended
    RETURN_ACKED = "return acked"
    HANDED_OVER = "handed over"  # a graceful stop
    DROPPED = "dropped"  # the partition is gone
    UNWRITABLE = "unwritable"  # a record of it is larger than the broker takes


_ENDED_ELSEWHERE: Final = {
    Happening.HANDED_OVER: Phase.LEFT,
    Happening.DROPPED: Phase.LEFT,
    Happening.UNWRITABLE: Phase.FINISHED,
}

NEXT: Final[Mapping[tuple[Phase, Happening], Phase]] = {
    (Phase.WAITING, Happening.PICKED): Phase.CLAIMING,
    (Phase.WAITING, Happening.GIVEN_BACK): Phase.RETURNING,
    (Phase.CLAIMING, Happening.OWNED): Phase.GENERATING,
    (Phase.CLAIMING, Happening.END_FOUND): Phase.PROJECTING,
    (Phase.CLAIMING, Happening.REPEAT_FOUND): Phase.FINISHED,
    (Phase.CLAIMING, Happening.ATTEMPT_LOST): Phase.CLAIMING,
    (Phase.CLAIMING, Happening.GIVEN_BACK): Phase.RETURNING,
    (Phase.GENERATING, Happening.ANSWER_DONE): Phase.ENDING,
    (Phase.GENERATING, Happening.ATTEMPT_LOST): Phase.CLAIMING,
    (Phase.GENERATING, Happening.GIVEN_BACK): Phase.RETURNING,
    (Phase.ENDING, Happening.END_TAKEN): Phase.PROJECTING,
    (Phase.ENDING, Happening.ATTEMPT_LOST): Phase.CLAIMING,
    (Phase.PROJECTING, Happening.PROJECTED): Phase.FINISHED,
    (Phase.PROJECTING, Happening.ATTEMPT_LOST): Phase.PROJECTING,
    (Phase.RETURNING, Happening.RETURN_ACKED): Phase.FINISHED,
    # Said again until it is acknowledged: a claim beside a return would only be displaced by its next dispatch.
    (Phase.RETURNING, Happening.ATTEMPT_LOST): Phase.RETURNING,
} | {
    (phase, happening): left
    for phase in (
        Phase.WAITING,
        Phase.CLAIMING,
        Phase.GENERATING,
        Phase.ENDING,
        Phase.PROJECTING,
        Phase.RETURNING,
    )
    for happening, left in _ENDED_ELSEWHERE.items()
}


def advance(phase: Phase, happening: Happening) -> Phase:
    """The phase after this. Raises InvariantBroken when the table has no row."""
    following = NEXT.get((phase, happening))
    if following is None:
        raise InvariantBroken(f"{happening.value} can't happen to a source that is {phase.value}")
    return following
