"""Claim and release as records."""

from inference_consumers.claims.decision import Standing
from inference_consumers.claims.wording import released, started
from schemas.records import TurnDispatched
from schemas.turns import Source
from tests.support.samples import AT, TURN, sample

DISPATCHED: TurnDispatched = sample(TurnDispatched)


def test_a_claim_says_whose_it_is() -> None:
    """It names its source, assignment and worker, and whether the turn is alone."""
    standing = Standing(dispatch=3, source=Source("inference.default", 1, 5), generation=4)
    claim = started(DISPATCHED, standing, 2, claim="c", at=AT, worker="w1", is_alone=True)
    assert (claim.id, claim.turn, claim.attempt, claim.dispatch) == ("c", TURN, 2, 3)
    assert (claim.source, claim.generation, claim.worker, claim.alone) == (standing.source, 4, "w1", True)


def test_a_release_names_its_attempt_and_worker() -> None:
    """A repeat is the same record; two workers that claimed under one number write two."""
    record = released(DISPATCHED, 2, AT, worker="w1")
    assert (record.type, record.turn, record.attempt, record.worker) == ("turn.released", TURN, 2, "w1")
    assert released(DISPATCHED, 2, AT, worker="w1") == record
    assert released(DISPATCHED, 2, AT, worker="w2").id != record.id
