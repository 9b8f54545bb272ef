import pytest

from inference_consumers.engines.simulated_answer import answer_ids
from infra.runtime.word_model import WordModel
from schemas.turns import Message, Role


def _text(*messages: Message) -> str:
    return WordModel().decode(answer_ids(messages))


@pytest.mark.parametrize("words", ["", "hello", " two  blanks\nand a line ", "w7 tokens: 3", "\N{GRINNING FACE}東京"])
def test_echo_answers_what_stands_behind_it(words: str) -> None:
    """`echo: W` answers W to the letter."""
    assert _text(Message(Role.USER, f"echo: {words}")) == words


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_tokens_answers_numbered_words(count: int) -> None:
    """`tokens: N` answers N numbered words, a token each."""
    ids = answer_ids([Message(Role.USER, f"tokens: {count}")])
    assert len(ids) == count
    assert WordModel().decode(ids) == " ".join(f"w{place}" for place in range(count))


def test_a_million_tokens_cost_nothing_before_they_are_made() -> None:
    """A long answer is counted, not built."""
    assert len(answer_ids([Message(Role.USER, "tokens: 999999999")])) == 999_999_999


def test_only_the_last_user_message_counts() -> None:
    """Whatever stands before the last user message, the answer is the same; another message gets another."""
    asked = Message(Role.USER, "why?")
    before = (Message(Role.SYSTEM, "be kind"), Message(Role.USER, "echo: x"), Message(Role.ASSISTANT, "x"))
    assert _text(asked) == _text(*before, asked)
    assert _text(asked) != _text(Message(Role.USER, "how?"))
    assert _text(asked).startswith("You sent 1 words. ")
    assert _text() != ""
