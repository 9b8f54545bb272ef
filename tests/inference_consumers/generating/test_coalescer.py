"""Pieces to deltas."""

from hypothesis import given
from hypothesis import strategies as st

from inference_consumers.generating.coalescer import (
    MAX_DELTA_CHARACTERS,
    MAX_DELTA_TOKENS,
    Coalescer,
    Delta,
)
from schemas import codec
from schemas.records import TurnDelta
from schemas.topics import MAX_LOG_RECORD_BYTES
from tests.support.logs import TURNS


def test_the_first_piece_is_due_at_once() -> None:
    """Nobody waits for a first token that is there."""
    coalescer = Coalescer(25)
    coalescer.push("a", (1,), 1000)
    assert coalescer.due_ms is not None
    assert coalescer.due_ms <= 0
    assert coalescer.take(1000) == Delta("a", (1,))
    assert coalescer.take(1000) is None


def test_later_pieces_are_merged_for_a_while() -> None:
    """Pieces within merge_ms of the last delta make one delta, due when that time is over."""
    coalescer = Coalescer(25)
    coalescer.push("a", (1,), 1000)
    coalescer.take(1000)
    coalescer.push("b", (2,), 1005)
    coalescer.push("c", (3, 4), 1010)
    assert coalescer.due_ms == 1025
    assert coalescer.take(1025) == Delta("bc", (2, 3, 4))
    assert coalescer.due_ms is None


def test_a_slow_stream_waits_for_nothing() -> None:
    """A piece that comes later than merge_ms after the last delta is due before it came."""
    coalescer = Coalescer(25)
    coalescer.push("a", (1,), 1000)
    coalescer.take(1000)
    coalescer.push("b", (2,), 1100)
    assert coalescer.due_ms is not None
    assert coalescer.due_ms <= 1100


def test_tokens_without_text_are_a_delta_too() -> None:
    """Ids that add no text are part of the answer: a successor continues behind them."""
    coalescer = Coalescer(0)
    coalescer.push("", (9,), 0)
    assert coalescer.take(0) == Delta("", (9,))


@given(st.lists(st.tuples(st.text(max_size=6000), st.integers(0, 4000)), max_size=30))
def test_deltas_add_up_and_stay_small(pieces: list[tuple[str, int]]) -> None:
    """Deltas are cut between pieces, add up to all of them in order, and fit a record."""
    coalescer, deltas = Coalescer(25), list[Delta | None]()
    for number, (text, tokens) in enumerate(pieces):
        deltas.append(coalescer.push(text, tuple(range(tokens)), number))
    deltas.append(coalescer.take(0))
    sent = [delta for delta in deltas if delta is not None]
    assert "".join(delta.text for delta in sent) == "".join(text for text, _ in pieces)
    assert sum(len(delta.token_ids) for delta in sent) == sum(tokens for _, tokens in pieces)
    for delta in sent:
        assert len(delta.text) <= MAX_DELTA_CHARACTERS
        assert len(delta.token_ids) <= MAX_DELTA_TOKENS


def test_the_largest_delta_fits_a_record() -> None:
    """The limits hold for the worst text and the largest ids that JSON can spell."""
    record = TurnDelta(
        id="x", at="2026-01-01T00:00:00.000Z", turn=TURNS[0], seq=10**6, tokens=MAX_DELTA_TOKENS,
        text="\x01" * MAX_DELTA_CHARACTERS, token_ids=(2**53 - 1,) * MAX_DELTA_TOKENS,
    )  # fmt: skip
    assert len(codec.encode(record)) < MAX_LOG_RECORD_BYTES
