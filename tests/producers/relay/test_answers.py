from dataclasses import replace

from producers.relay import answers
from producers.relay.progress import Progress
from schemas import projection
from schemas.errors import ErrorCode
from schemas.fold import TurnFold
from schemas.turns import Failure, Reason, Stage, Verdict
from tests.producers.support import records
from tests.producers.support.asked import AT, TURN, requested

ASKED = requested()


def _log(reason: Reason = Reason.STOP) -> list[object]:
    return [
        records.accepted(ASKED),
        records.started(ASKED),
        records.delta(ASKED, 0, "hi"),
        records.ended(ASKED, 1, reason),
    ]


def test_row_and_log_tell_the_same() -> None:
    """A turn's answer is the same out of its row and out of its log."""
    progress, fold = Progress(TURN), TurnFold(TURN)
    for offset, record in enumerate(_log()):
        progress.take_logged(record)  # type: ignore[arg-type]
        fold.take(record, offset)  # type: ignore[arg-type]
    row = projection.completed(fold, ASKED.request.log)
    assert answers.outcome(progress) == answers.outcome_of_row(row)
    assert answers.of_log(progress, "?") == answers.of_row(row, "?")


def test_a_sentence_in_place_of_an_answer_is_no_error() -> None:
    """Out of log and row alike it is an answer: what went wrong stands in the detail, for analysts."""
    failure = Failure(ErrorCode.ENGINE_FAILED, "no worker", retriable=True)
    end = records.ended(ASKED, 1, Reason.STOP)
    said = replace(end, degraded=True, detail=replace(end.detail, error=failure))
    progress, fold = Progress(TURN), TurnFold(TURN)
    for offset, record in enumerate([*_log()[:-1], said]):
        progress.take_logged(record)  # type: ignore[arg-type]
        fold.take(record, offset)  # type: ignore[arg-type]
    row = projection.completed(fold, ASKED.request.log)
    assert (row.degraded, row.detail.error) == (True, failure)
    outcome = answers.outcome_of_row(row)
    assert outcome == answers.outcome(progress)
    assert (outcome.reason, outcome.error) == (Reason.STOP, None)


def test_what_is_known_grows() -> None:
    """A request's particulars are settled by the log: who answers, and which turn is followed."""
    asked = answers.of_request(ASKED, "guess")
    progress = Progress(TURN)
    assert answers.settled(asked, progress) == asked
    for record in _log()[:2]:
        progress.take_logged(record)  # type: ignore[arg-type]
    assert answers.settled(asked, progress).model == records.MODEL
    assert answers.of_log(Progress(TURN), "guess").model == "guess"


def test_a_refusal_always_says_something() -> None:
    """The policy's sentence is the detail's, else the last verdict's, else a general one; a good end has none."""
    verdict = Verdict(stage=Stage.INPUT, action="refuse", sentence="from the verdict")  # type: ignore[arg-type]
    ended = records.ended(ASKED, 0, Reason.REFUSED, attempt=0)
    progress = Progress(TURN, ended=ended)
    outcome = answers.outcome(progress)
    assert outcome is not None
    assert outcome.refusal
    assert answers._refusal(Reason.REFUSED, None, (verdict,)) == "from the verdict"
    assert answers._refusal(Reason.WITHHELD, "said", (verdict,)) == "said"
    assert answers._refusal(Reason.STOP, None, (verdict,)) is None
    assert outcome.ended_at == AT
