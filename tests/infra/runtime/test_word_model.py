from hypothesis import given
from hypothesis import strategies as st

from infra.runtime.word_model import WordModel, encode_words, numbered, word_bytes
from schemas.turns import Message, Role


@given(st.text())
def test_ids_alone_give_the_text_back(text: str) -> None:
    """Any text's ids read back to it, and every id is a whole number that all JSON readers keep."""
    ids = encode_words(text)
    assert b"".join(map(word_bytes, ids)).decode() == text
    assert all(0 < token_id < 2**53 for token_id in ids)


def test_numbered_words_are_one_token_each() -> None:
    """`w0 w1 ... w12345` has a token a word, the same ids that `numbered` names."""
    ids = encode_words(" ".join(f"w{place}" for place in range(12346)))
    assert ids == [numbered(place) for place in range(12346)]


@given(st.integers())
def test_no_number_breaks_the_decoder(token_id: int) -> None:
    """Numbers that are nobody's id add no text or their word's, and never raise."""
    if -(2**60) < token_id < 2**60:
        assert isinstance(word_bytes(token_id), bytes)


def test_messages_are_lines_and_count_what_they_add() -> None:
    """A longer prompt has the tokens of the shorter one and of its own message."""
    model = WordModel()
    one, two = Message(Role.USER, "a b c"), Message(Role.ASSISTANT, "d e")
    assert model.render([one]) == "user: a b c\nassistant:"
    assert len(model.prompt_ids([one, two])) == len(model.prompt_ids([one])) + model.count_message(two)
    assert model.decode(model.encode("x y")) == "x y"
