"""Every way in which a source can stand to the last taken claim."""

from dataclasses import replace

import pytest

from inference_consumers.claims.decision import Decision, Standing, decide
from schemas.fold import TurnFold
from schemas.turns import Source
from tests.support.logs import TURNS, ended, started

TURN = TURNS[0]
MINE = Source("inference.default", 0, 7)
OTHER = Source("inference.default", 0, 9)


def _fold(*, dispatch: int | None, source: Source = MINE, generation: int = 5, has_ended: bool = False) -> TurnFold:
    fold = TurnFold(TURN)
    if dispatch is not None:
        fold.take(replace(started(TURN, 1), dispatch=dispatch, source=source, generation=generation), 0)
    if has_ended:
        fold.take(ended(TURN, fold.cursor.attempt, 0), 1)
    return fold


# Every relation of dispatch, source and generation, ended or not: 2 * (1 + 3 * 2 * 3) rows.
_EXPECTED = {
    # (last dispatch against mine, same source, last generation against mine): decision
    ("none", True, 0): Decision.CLAIM,
    ("lower", True, -1): Decision.CLAIM,
    ("lower", True, 0): Decision.CLAIM,
    ("lower", True, 1): Decision.CLAIM,
    ("lower", False, -1): Decision.CLAIM,
    ("lower", False, 0): Decision.CLAIM,
    ("lower", False, 1): Decision.CLAIM,
    ("same", True, -1): Decision.CLAIM,
    ("same", True, 0): Decision.CLAIM,
    ("same", True, 1): Decision.ZOMBIE,
    ("same", False, -1): Decision.REPEAT,
    ("same", False, 0): Decision.REPEAT,
    ("same", False, 1): Decision.REPEAT,
    ("higher", True, -1): Decision.REPEAT,
    ("higher", True, 0): Decision.REPEAT,
    ("higher", True, 1): Decision.REPEAT,
    ("higher", False, -1): Decision.REPEAT,
    ("higher", False, 0): Decision.REPEAT,
    ("higher", False, 1): Decision.REPEAT,
}


@pytest.mark.parametrize("has_ended", [False, True])
@pytest.mark.parametrize("relation", _EXPECTED)
def test_every_relation_has_its_decision(relation: tuple[str, bool, int], has_ended: bool) -> None:
    """The decision is the table's, whatever the numbers are; an end outranks all."""
    last, is_same_source, ahead = relation
    dispatch = {"none": None, "lower": 2, "same": 3, "higher": 4}[last]
    fold = _fold(
        dispatch=dispatch,
        source=MINE if is_same_source else OTHER,
        generation=5 + ahead,
        has_ended=has_ended,
    )
    decision = decide(fold, Standing(dispatch=3, source=MINE, generation=5))
    assert decision is (Decision.ENDED if has_ended else _EXPECTED[relation])


def test_only_a_taken_claim_counts() -> None:
    """A claim that the fold dropped displaces nobody: the last taken one decides."""
    fold = _fold(dispatch=3, source=OTHER)
    dropped = replace(started(TURN, 1), dispatch=9, source=MINE, generation=9)
    assert not fold.take(dropped, 1)
    assert decide(fold, Standing(dispatch=4, source=MINE, generation=1)) is Decision.CLAIM
