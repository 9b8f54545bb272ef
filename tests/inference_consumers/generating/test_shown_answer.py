"""What one attempt shows."""

from inference_consumers.generating.shown_answer import ShownAnswer
from schemas.fold import TurnFold
from schemas.records import TurnDelta
from tests.inference_consumers.generating.courses import Stage, dispatch
from tests.support.logs import delta, started
from tests.support.samples import TURN


def _fold() -> TurnFold:
    fold = TurnFold(TURN)
    fold.take(started(TURN, 1), 0)
    fold.take(delta(TURN, 1, 0, "before "), 1)
    return fold


async def test_it_stands_behind_what_others_showed() -> None:
    """Text and tokens are those of all attempts; its own deltas go on at the next number, under its own attempt."""
    stage = Stage(None)
    answer = ShownAnswer(dispatch(), _fold(), 2, stage.tools(), on_lost=lambda: None)
    answer.stream.push("after", (8, 9))
    await answer.log.settled()
    assert (answer.text, answer.token_ids) == ("before after", [0, 8, 9])
    [record] = stage.log.records
    assert isinstance(record, TurnDelta)
    assert (record.id, record.attempt, record.seq) == (f"{TURN}.2.1", 2, 1)
    assert (record.text, record.token_ids, record.tokens) == ("after", (8, 9), 2)
    await answer.close()


async def test_a_lost_append_is_told() -> None:
    """Whoever generates learns that nothing more is to be said."""
    stage, told = Stage(None), list[bool]()
    stage.log.fail_next(lands=False)
    answer = ShownAnswer(dispatch(), _fold(), 2, stage.tools(), on_lost=lambda: told.append(True))
    answer.stream.push("x", (1,))
    await answer.log._settled.wait()
    assert told == [True]
    await answer.close()
