"""The checker's own reading of the contract's rule, held against the product's."""

import json

from hypothesis import given

from schemas import codec
from schemas.fold import TurnFold
from schemas.records import LogRecord, TurnDelta
from tests.chaos.rule import FoldedTurn, fold
from tests.support.logs import TURNS, wild_logs


@given(wild_logs())
def test_two_readings_of_one_rule_agree(log: list[LogRecord]) -> None:
    """Whatever the log holds, the rule read anew on its bytes says what the product's fold says of its values."""
    folded = fold((offset, json.loads(codec.encode(record))) for offset, record in enumerate(log))
    for name in TURNS:
        ours, theirs = folded.turns.get(name, FoldedTurn()), TurnFold(name)
        for offset, record in enumerate(log):
            theirs.take(record, offset)
        assert (ours.text, ours.seq, ours.attempt) == (theirs.text, theirs.cursor.seq, theirs.cursor.attempt)
        assert ours.end_offset == theirs.end_offset
        assert ours.taken_tokens == theirs.delivered_tokens
        assert ours.dropped_tokens == theirs.regenerated_tokens


@given(wild_logs())
def test_no_token_is_forgotten(log: list[LogRecord]) -> None:
    """Each delta's tokens before the end are counted once, as shown or as made again."""
    folded = fold((offset, json.loads(codec.encode(record))) for offset, record in enumerate(log))
    for name, turn in folded.turns.items():
        end = turn.end_offset if turn.ended is not None else len(log)
        deltas = [each for each in log[:end] if isinstance(each, TurnDelta) and each.turn == name]
        assert turn.taken_tokens + turn.dropped_tokens == sum(len(delta.token_ids) for delta in deltas)
