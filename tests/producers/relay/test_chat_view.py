import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from producers.relay import answers
from producers.relay.chat_view import ChatStream, completion
from producers.relay.progress import Piece
from schemas.turns import Reason
from tests.producers.relay.test_response_view import PARTICULARS, _outcome


@pytest.mark.parametrize(
    ("reason", "text", "finish", "content"),
    [
        (Reason.STOP, "xx", "stop", "xx"),
        (Reason.LENGTH, "xx", "length", "xx"),
        (Reason.CANCELLED, "xx", "stop", "xx"),
        (Reason.REFUSED, "", "content_filter", "no"),
        (Reason.WITHHELD, "xx", "content_filter", "xx\n\nno"),
    ],
)
def test_whole_and_stream_agree(reason: Reason, text: str, finish: str, content: str) -> None:
    """However a turn ends, chunks add up to the whole completion."""
    outcome = _outcome(reason, len(text))
    whole = ChatCompletion.model_validate(completion(PARTICULARS, text, outcome))
    assert (whole.choices[0].finish_reason, whole.choices[0].message.content) == (finish, content)
    stream = ChatStream(PARTICULARS, includes_usage=False)
    made = [chunk for seq, letter in enumerate(text) for chunk in stream.released(Piece(seq, seq, letter))]
    chunks = [ChatCompletionChunk.model_validate(each) for each in [*made, *stream.ended(outcome)]]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == content
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [*[None] * (len(chunks) - 1), finish]


def test_usage_is_told_when_asked() -> None:
    """The last chunk tells the usage, and has no choice; the others say that they don't."""
    stream = ChatStream(PARTICULARS, includes_usage=True)
    chunks = stream.ended(_outcome(Reason.STOP))
    assert [chunk["usage"] is None for chunk in chunks] == [True, True, False]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 2


def test_errors_are_no_completions() -> None:
    """Expired and failed turns have no finish reason of their own."""
    assert answers.FILTERED.isdisjoint({Reason.EXPIRED, Reason.FAILED})
