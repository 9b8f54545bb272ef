"""The last record of a turn."""

from dataclasses import replace

from inference_consumers.publishing.ending import Ending, Tally, error_of, expired, failed, output_verdicts, written
from schemas import codec
from schemas.errors import ERRORS, ErrorCode
from schemas.fold import TurnFold
from schemas.records import TurnDispatched, TurnEnded
from schemas.topics import MAX_LOG_RECORD_BYTES
from schemas.turns import Action, Reason, Stage, Verdict
from tests.support.logs import delta, started
from tests.support.samples import AT, TURN, sample

DISPATCHED: TurnDispatched = sample(TurnDispatched)


def _written(ending: Ending, tally: Tally | None = None, fold: TurnFold | None = None) -> TurnEnded:
    return written(
        DISPATCHED, fold or TurnFold(TURN), attempt=2, seq=5, ending=ending, tally=tally or Tally(), at=AT
    )  # fmt: skip


def test_it_carries_the_dispatch_through() -> None:
    """What TurnCompleted and UsageRecorded need beside the fold stands in it as the gate gave it."""
    end = _written(Ending(reason=Reason.STOP))
    assert (end.id, end.attempt, end.seq) == (f"{TURN}.2.ended", 2, 5)
    for name in ("user", "key_id", "tier", "cost_class", "pool", "deployment", "model", "model_version", "n", "parent"):
        assert getattr(end, name) == getattr(DISPATCHED, name)
    assert end.log_start == DISPATCHED.place
    assert end.detail.options == DISPATCHED.options
    assert end.detail.epoch == DISPATCHED.epoch
    assert end.interventions == DISPATCHED.interventions


def test_a_prompt_that_was_never_read_costs_nothing() -> None:
    """A turn stopped in the queue has no prompt tokens; one whose first attempt spoke has read its prompt."""
    assert _written(Ending(reason=Reason.CANCELLED)).prompt_tokens == 0
    fold = TurnFold(TURN)
    fold.take(started(TURN, 1), 0)
    fold.take(delta(TURN, 1, 0), 1)
    assert _written(Ending(reason=Reason.CANCELLED), fold=fold).prompt_tokens == DISPATCHED.prompt_tokens
    assert _written(Ending(reason=Reason.STOP), Tally(prompt_tokens=40, cached_tokens=30)).cached_tokens == 30


def test_verdicts_join_those_of_the_input() -> None:
    """Output verdicts stand behind the input's and are told apart by their stage."""
    verdict = Verdict(stage=Stage.OUTPUT, action=Action.WITHHOLD, rule="r", sentence="No.")
    end = _written(Ending(reason=Reason.WITHHELD, refusal="No.", verdicts=(verdict,)))
    assert end.interventions == (*DISPATCHED.interventions, verdict)
    assert output_verdicts(end) == (verdict,)
    assert end.detail.refusal == "No."


def test_errors_say_whether_to_try_again() -> None:
    """The error's retriability is its code's."""
    end = failed(ErrorCode.CONTEXT_TOO_LARGE, "too long")
    assert end.error is not None
    assert end.error.retriable is ERRORS[ErrorCode.CONTEXT_TOO_LARGE].retriable
    late = expired()
    assert late.error is not None
    assert late.error.code is ErrorCode.DEADLINE
    assert error_of(Reason.CANCELLED) is None


def test_the_largest_end_fits_a_record() -> None:
    """A message and instructions of the largest sizes leave out the instructions, not the message."""
    large = replace(DISPATCHED, input_text="m" * 196_608, instructions="i" * 196_608)
    end = written(
        large, TurnFold(TURN), attempt=1, seq=0, ending=Ending(reason=Reason.STOP), tally=Tally(), at=AT
    )  # fmt: skip
    assert len(codec.encode(end)) < MAX_LOG_RECORD_BYTES
    assert end.input_text == large.input_text
    assert end.detail.instructions is None
