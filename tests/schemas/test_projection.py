"""Turn record and usage are pure functions of the log."""

from dataclasses import replace

import pytest
from hypothesis import given

from schemas import codec, projection
from schemas.errors import InvariantBroken
from schemas.fold import TurnFold
from schemas.records import LogRecord, UsageColumns
from schemas.turns import LogAddress
from tests.support.logs import TURNS, delta, ended, started, wild_logs

LOG = LogAddress("conversations", 3)
A = TURNS[0]


def folded(log: list[LogRecord]) -> TurnFold:
    """The fold of turn A over a log."""
    fold = TurnFold(A)
    for offset, record in enumerate(log):
        fold.take(record, offset)
    return fold


@given(wild_logs())
def test_what_follows_the_end_changes_nothing(log: list[LogRecord]) -> None:
    """Whoever projects later, behind whatever landed since, gets the same bytes with the same id."""
    whole = [started(A, 4), *(record for record in log if record.attempt != 4), delta(A, 4, 0)]
    fold = folded(whole)
    end = ended(A, fold.cursor.attempt, fold.cursor.seq)
    first, later = folded([*whole, end]), folded([*whole, end, *log, started(A, 9)])
    assert codec.encode(projection.completed(first, LOG)) == codec.encode(projection.completed(later, LOG))
    assert codec.encode(projection.usage(first)) == codec.encode(projection.usage(later))


def test_the_numbers_add_up() -> None:
    """Generated = delivered + withheld + regenerated + discarded, and the two records agree in every shared column."""
    fold = folded([started(A, 1), delta(A, 1, 0, "Hel"), delta(A, 1, 1, "lo", tokens=3), ended(A, 1, 2)])
    turn, usage = projection.completed(fold, LOG), projection.usage(fold)
    assert usage is not None
    assert turn.output_text == "Hello"
    assert usage.delivered_tokens == 4
    assert usage.generated_tokens == 4 + usage.withheld_tokens + usage.regenerated_tokens + usage.discarded_tokens
    columns = {name: getattr(usage, name) for name in UsageColumns.__dataclass_fields__ if name not in ("type", "id")}
    assert columns == {name: getattr(turn, name) for name in columns}


def test_an_unstored_turn_keeps_no_text() -> None:
    """A turn that is not stored has null texts for analysts."""
    end = replace(ended(A, 1, 1), stored=False)
    turn = projection.completed(folded([started(A, 1), delta(A, 1, 0, "secret"), end]), LOG)
    assert (turn.input_text, turn.output_text) == (None, None)


def test_an_unstored_turn_keeps_nothing_of_the_client_s_words() -> None:
    """Instructions and metadata go with the texts; how it was refused and asked stays."""
    end = ended(A, 1, 0)
    detail = replace(end.detail, instructions="I am Anna", metadata={"name": "Anna"}, refusal="no", dialect="chat")
    log: list[LogRecord] = [started(A, 1), replace(end, stored=False, detail=detail)]
    kept = projection.completed(folded(log), LOG).detail
    assert kept == replace(detail, instructions=None, metadata={})
    stored = projection.completed(folded([started(A, 1), replace(end, detail=detail)]), LOG).detail
    assert stored == detail


def test_a_turn_that_was_never_claimed_costs_nothing() -> None:
    """A turn that ended before any claim has no usage record."""
    assert projection.usage(folded([ended(A, 0, 0)])) is None


def test_no_projection_before_the_end() -> None:
    """Asking for the records of a turn that runs is a bug."""
    with pytest.raises(InvariantBroken):
        projection.completed(folded([started(A, 1)]), LOG)
