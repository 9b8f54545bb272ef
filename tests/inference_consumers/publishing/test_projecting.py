"""What follows from a turn's end."""

from dataclasses import replace

import pytest

from inference_consumers.publishing.projecting import facts, returned
from schemas import topics
from schemas.errors import InvariantBroken
from schemas.fold import TurnFold
from schemas.records import TurnCompleted, TurnDispatched, UsageRecorded, VerdictReached
from schemas.turns import Action, LogAddress, Source, Stage, Verdict
from tests.support.logs import delta, ended, started
from tests.support.samples import AT, TURN, sample

LOG = LogAddress("conversations", 3)


def _fold(*, claims: bool = True, deltas: int = 2, interventions: tuple[Verdict, ...] = ()) -> TurnFold:
    fold = TurnFold(TURN)
    if claims:
        fold.take(started(TURN, 1), 0)
    for seq in range(deltas):
        fold.take(delta(TURN, 1, seq), 1 + seq)
    end = replace(ended(TURN, int(claims), deltas), interventions=interventions, accepted_at=AT)
    assert fold.take(end, 9)
    return fold


def test_a_turn_that_ran_has_all_three() -> None:
    """Verdict, usage and the whole turn, the turn last; the same again from the same log."""
    said = facts(_fold(), LOG)
    assert [(topic, type(record)) for topic, record in said] == [
        (topics.VERDICTS, VerdictReached),
        (topics.USAGE, UsageRecorded),
        (topics.TURNS, TurnCompleted),
    ]
    assert facts(_fold(), LOG) == said


def test_a_turn_that_was_never_claimed_has_no_usage() -> None:
    """Without a claim there is a turn record alone."""
    said = facts(_fold(claims=False, deltas=0), LOG)
    assert [topic for topic, _ in said] == [topics.TURNS]


def test_verdicts_are_told_by_rule() -> None:
    """Each output verdict is a record of its own; the input's were told by moderation."""
    verdicts = (
        Verdict(stage=Stage.INPUT, action=Action.FLAG, rule="in"),
        Verdict(stage=Stage.OUTPUT, action=Action.FLAG, rule="one"),
        Verdict(stage=Stage.OUTPUT, action=Action.WITHHOLD, rule="two"),
    )
    said = [record for topic, record in facts(_fold(interventions=verdicts), LOG) if topic == topics.VERDICTS]
    assert [record.id for record in said] == [f"{TURN}.output.one", f"{TURN}.output.two"]


def test_an_open_turn_is_not_projected() -> None:
    """Projecting before the end is a bug."""
    with pytest.raises(InvariantBroken):
        facts(TurnFold(TURN), LOG)


def test_a_returned_turn_names_its_dispatch() -> None:
    """The gate learns which dispatch of which source came back; a repeat has the same id."""
    dispatched: TurnDispatched = sample(TurnDispatched)
    source = Source("inference.default", 1, 5)
    record = returned(dispatched, source, AT, worker="w1")
    assert (record.turn, record.dispatch, record.source) == (dispatched.turn, dispatched.dispatch, source)
    assert (record.failures, record.shown, record.discarded_tokens) == (7, False, 7)
    assert returned(dispatched, source, AT, worker="w1") == record


def test_a_failure_is_counted_beside_those_before() -> None:
    """The gate learns how often engines of the pool have failed the turn, where, and what they made for nothing."""
    dispatched = replace(sample(TurnDispatched), failures=2)
    record = returned(
        dispatched,
        Source("inference.default", 1, 5),
        AT,
        worker="w1",
        has_failed=True,
        is_shown=True,
        discarded_tokens=9,
    )
    assert (record.failures, record.shown, record.worker, record.discarded_tokens) == (3, True, "w1", 9)
