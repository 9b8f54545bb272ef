import pytest

from producers.admission import sending
from schemas.errors import CallerError
from schemas.frames import Send
from schemas.turns import LATEST
from tests.producers.support.asked import CONVERSATION, TURN


def test_a_frame_is_an_ask_like_any() -> None:
    """A frame's text, thread and parent arrive, and what was said is stored."""
    ask = sending.ask(Send(text="hi", conversation=CONVERSATION, parent=TURN, options={"max_tokens": 3}))
    assert (ask.text, ask.conversation, ask.parent, ask.stored) == ("hi", CONVERSATION, TURN, True)
    assert ask.options.max_tokens == 3
    assert sending.ask(Send(text="hi")).parent == LATEST
    assert sending.ask(Send(text="hi", conversation=CONVERSATION, parent=None)).parent is None


def test_options_are_read_as_http_reads_them() -> None:
    """The dialects' names for the most tokens, one stop as a text, and null for nothing."""
    for name in ("max_tokens", "max_output_tokens", "max_completion_tokens"):
        assert sending.ask(Send(text="hi", options={name: 3})).options.max_tokens == 3
    options = sending.ask(Send(text="hi", options={"stop": "x", "seed": -1, "temperature": None})).options
    assert (options.stop, options.seed, options.temperature) == (("x",), -1, None)
    assert sending.ask(Send(text="hi", options=None)).options == sending.ask(Send(text="hi")).options


@pytest.mark.parametrize(
    ("frame", "param"),
    [
        (Send(text=""), "text"),
        (Send(text="x", conversation="conv_1"), "conversation"),
        (Send(text="x", conversation=CONVERSATION, parent="resp_1"), "parent"),
        (Send(text="x", parent=TURN), "parent"),
        (Send(text="x", options={"temperature": 9}), "options.temperature"),
        (Send(text="x", options={"top_p": 0}), "options.top_p"),
        (Send(text="x", options={"stop": ["x"] * 5}), "options.stop"),
        (Send(text="x", options={"seed": 2**63}), "options.seed"),
        (Send(text="x", options={"max_token": 3}), "options.max_token"),
        (Send(text="x", options={"tools": [{}]}), "options.tools"),
    ],
)
def test_refusals_name_the_field(frame: Send, param: str) -> None:
    """A frame's fault is told with its field."""
    with pytest.raises(CallerError) as refused:
        sending.ask(frame)
    assert refused.value.param == param
