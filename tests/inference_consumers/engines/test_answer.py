from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inference_consumers.engines.answer import AnswerText
from inference_consumers.engines.port import Piece
from infra.runtime.word_model import encode_words, word_bytes
from schemas.turns import Reason


def _pieces(text: str, stop: tuple[str, ...], cuts: list[int], room: int | None = None) -> list[Piece]:
    answer = AnswerText(word_bytes, stop, room)
    ids = encode_words(text)
    ends = sorted({cut % (len(ids) + 1) for cut in cuts} | {0, len(ids)})
    pieces = []
    for start, end in pairwise(ends):
        piece = answer.push(ids[start:end])
        if piece is not None:
            pieces.append(piece)
        if answer.finish is not None:
            return pieces
    return [*pieces, answer.end(Reason.STOP)]


@given(st.text(), st.lists(st.integers(0, 50)))
def test_pieces_join_to_the_answer_and_each_is_what_its_ids_add(text: str, cuts: list[int]) -> None:
    """Text and ids of every piece agree, and nothing is lost or doubled, however tokens come in."""
    pieces = _pieces(text, (), cuts)
    assert "".join(piece.text for piece in pieces) == text
    assert [token for piece in pieces for token in piece.token_ids] == encode_words(text)
    for piece in pieces:
        assert b"".join(map(word_bytes, piece.token_ids)).decode() == piece.text


@given(
    st.text(alphabet="ab ", max_size=60), st.text(alphabet="ab", min_size=1, max_size=3), st.lists(st.integers(0, 50))
)
def test_a_stop_text_never_shows(text: str, stop: str, cuts: list[int]) -> None:
    """The answer ends before the stop text, and no piece holds a part of it, however tokens come in."""
    pieces = _pieces(text, (stop,), cuts)
    shown = "".join(piece.text for piece in pieces)
    assert shown == text.split(stop, maxsplit=1)[0]
    assert pieces[-1].finish is Reason.STOP


def test_room_ends_the_answer_by_length() -> None:
    """After `room` tokens the answer ends; what was held back for a stop text is shown."""
    pieces = _pieces("one two thr four", ("three",), [1, 2, 3], room=3)
    assert "".join(piece.text for piece in pieces) == "one two thr"
    assert pieces[-1].finish is Reason.LENGTH


def test_half_a_character_at_the_end_is_not_shown() -> None:
    """An answer that ends inside a character shows what is whole before it, with all ids."""
    parts = [b"a", b"b\xc3"]
    answer = AnswerText(parts.__getitem__, (), 2)
    assert answer.push([0]) == Piece(text="a", token_ids=(0,))
    assert answer.push([1]) == Piece(text="b", token_ids=(1,), finish=Reason.LENGTH)


def test_a_stop_text_in_what_is_held_for_a_character_is_found_at_the_end() -> None:
    """The whole characters before half a one are read for stop texts too."""
    parts = [b"ab\xc3"]
    answer = AnswerText(parts.__getitem__, ("b",))
    assert answer.push([0]) is None
    assert answer.end(Reason.LENGTH) == Piece(text="a", token_ids=(0,), finish=Reason.STOP)
