"""Answers begun anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_consumers.engines.port import Piece
from inference_consumers.generating.repeating import Repetition
from schemas.errors import EngineFailed
from schemas.turns import Reason


@given(st.lists(st.text(max_size=5), max_size=10), st.data())
def test_what_was_shown_is_left_out(texts: list[str], data: st.DataObject) -> None:
    """However the answer is cut, what comes out continues exactly the shown text."""
    whole = "".join(texts)
    shown = whole[: data.draw(st.integers(0, len(whole)))]
    repetition = Repetition(shown)
    pieces = [Piece(text=text, token_ids=(1,)) for text in texts] + [Piece(text="", token_ids=(), finish=Reason.STOP)]
    out = [repetition.beyond(piece) for piece in pieces]
    assert shown + "".join(piece.text for piece in out if piece is not None) == whole
    assert out[-1] is not None
    assert out[-1].finish is Reason.STOP


@pytest.mark.parametrize("texts", [("other",), ("sh", "ot"), ("sho",)])
def test_another_answer_is_a_failure(texts: tuple[str, ...]) -> None:
    """One that differs from the shown text, or ends inside it, is no continuation."""
    repetition = Repetition("shown")
    pieces = [Piece(text=text, token_ids=(1,)) for text in texts] + [Piece(text="", token_ids=(), finish=Reason.STOP)]
    with pytest.raises(EngineFailed):
        list(map(repetition.beyond, pieces))
