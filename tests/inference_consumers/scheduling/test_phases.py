"""The table of a source's life, row by row."""

from itertools import product

import pytest

from inference_consumers.scheduling.phases import NEXT, Happening, Phase, advance
from schemas.errors import InvariantBroken


@pytest.mark.parametrize(("phase", "happening"), list(product(Phase, Happening)))
def test_every_pair_is_in_the_table_or_refused(phase: Phase, happening: Happening) -> None:
    """A pair leads where the table says; one without a row is a bug of ours and changes nothing."""
    if (phase, happening) in NEXT:
        assert advance(phase, happening) is NEXT[phase, happening]
    else:
        with pytest.raises(InvariantBroken):
            advance(phase, happening)


def test_every_phase_leads_to_an_end() -> None:
    """From each phase both ends can be reached, and the ends lead nowhere."""
    ends = {Phase.FINISHED, Phase.LEFT}
    for phase in set(Phase) - ends:
        reached = {phase}
        while True:
            more = {after for (before, _), after in NEXT.items() if before in reached} | reached
            if more == reached:
                break
            reached = more
        assert ends <= reached
    assert not [pair for pair in NEXT if pair[0] in ends]


def test_a_lost_partition_is_left_from_anywhere() -> None:
    """Whatever a source is at, its partition may go and the worker may leave."""
    for phase in set(Phase) - {Phase.FINISHED, Phase.LEFT}:
        assert advance(phase, Happening.DROPPED) is Phase.LEFT
        assert advance(phase, Happening.HANDED_OVER) is Phase.LEFT
