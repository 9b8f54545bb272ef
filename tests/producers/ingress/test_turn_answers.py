import pytest

from producers.ingress import turn_answers
from producers.relay.progress import Progress
from producers.relay.turn_reader import Found
from schemas import projection
from schemas.fold import TurnFold
from tests.producers.support import records
from tests.producers.support.asked import TURN, requested

ASKED = requested(text="why")


def test_a_turn_looks_the_same_from_each_place() -> None:
    """Request, log and row tell one turn, each as far as it knows."""
    queued = turn_answers.of_found(Found(requested=ASKED), "m")
    assert (queued.status, queued.question, queued.text, queued.n) == ("queued", "why", "", None)
    progress, fold = Progress(TURN), TurnFold(TURN)
    log = [records.accepted(ASKED), records.started(ASKED), records.delta(ASKED, 0, "so"), records.ended(ASKED, 1)]
    for offset, record in enumerate(log):
        progress.take_logged(record)
        fold.take(record, offset)
    logged = turn_answers.of_found(Found(progress=progress), "m")
    stored = turn_answers.of_found(Found(row=projection.completed(fold, ASKED.request.log)), "m")
    for shown in (logged, stored):
        assert (shown.question, shown.text, shown.n) == ("why", "so", 1)
        assert shown.outcome is not None
    assert logged.particulars == stored.particulars
    with pytest.raises(ValueError, match="somewhere"):
        turn_answers.of_found(Found(), "m")
