from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ErrorCode
from schemas.turns import Failure, Message, Role
from stream_processors.enrichment.prompt import Measure, Piece, Prompt, build, instructions_of

MEASURE = Measure(frame_tokens=3, framed_tokens=4, max_model_len=100, count=lambda message: len(message.text))


def _turn(size: int) -> Piece:
    half = size // 2
    texts = (Message(Role.USER, "u" * half), Message(Role.ASSISTANT, "a" * (size - half)))
    return Piece(messages=texts, tokens=size)


def _build(**more: object) -> Prompt | Failure:
    given: dict[str, object] = {
        "instructions": "sys", "turns": [], "history": (), "text": "hello", "max_tokens": 10, "answer_tokens": 20,
        "measure": MEASURE,
    }  # fmt: skip
    return build(**(given | more))  # type: ignore[arg-type]


def test_instructions_lead_and_the_message_comes_last() -> None:
    """Tenant's, conversation's and request's instructions are one first message; the chain stands oldest first."""
    assert instructions_of("a", None, "b") == "a\n\nb"
    assert instructions_of(None, "") is None
    prompt = _build(turns=[_turn(4), _turn(6)])
    assert isinstance(prompt, Prompt)
    assert [message.role for message in prompt.messages] == [
        Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.USER, Role.ASSISTANT, Role.USER,
    ]  # fmt: skip
    assert [len(message.text) for message in prompt.messages] == [3, 3, 3, 2, 2, 5]
    assert prompt.tokens == 4 + 3 + 5 + 10


def test_the_oldest_whole_turns_go_first() -> None:
    """What doesn't fit is cut off at the oldest end, whole turns, and said."""
    prompt = _build(turns=[_turn(30), _turn(40), _turn(30), _turn(2)])
    assert isinstance(prompt, Prompt)
    assert (prompt.trimmed.turns, prompt.trimmed.tokens) == (2, 32)
    assert prompt.messages[0].role is Role.SYSTEM


def test_the_clients_own_history_stands_behind_the_chain() -> None:
    """Own messages are nearer than turns, so turns go first; system messages among them are instructions."""
    history = (Message(Role.SYSTEM, "rule"), Message(Role.USER, "x" * 30), Message(Role.ASSISTANT, "y" * 30))
    prompt = _build(history=history, turns=[_turn(40)])
    assert isinstance(prompt, Prompt)
    assert [message.text[0] for message in prompt.messages] == ["s", "r", "x", "y", "h"]
    assert prompt.trimmed.turns == 1
    tight = _build(history=(history[0], Message(Role.USER, "x" * 60), history[2]))
    assert isinstance(tight, Prompt)
    assert (tight.trimmed.messages, [message.text[0] for message in tight.messages]) == (1, ["s", "r", "y", "h"])


def test_too_large_alone_is_said() -> None:
    """Instructions and message that fill the model leave no prompt; history is never the reason."""
    failure = _build(text="x" * 95)
    assert isinstance(failure, Failure)
    assert failure.code is ErrorCode.CONTEXT_TOO_LARGE
    assert isinstance(_build(text="x" * 85, turns=[_turn(50)]), Prompt)


@given(st.lists(st.integers(0, 60), max_size=12), st.integers(0, 120), st.one_of(st.none(), st.integers(1, 200)))
def test_prompt_and_answer_always_fit(sizes: list[int], text: int, max_tokens: int | None) -> None:
    """Prompt and lowered max_tokens are within the model's length; at least one token of answer is left."""
    built = _build(turns=[_turn(size) for size in sizes], text="t" * text, max_tokens=max_tokens)
    if isinstance(built, Failure):
        assert 4 + 3 + text > 99
        return
    assert 1 <= built.max_tokens <= MEASURE.max_model_len - built.tokens
    assert max_tokens is None or built.max_tokens <= max_tokens
    counted = sum(len(message.text) for message in built.messages)
    assert built.tokens == 4 + counted
