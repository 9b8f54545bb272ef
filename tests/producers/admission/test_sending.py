import pytest

from producers.admission import sending
from schemas.errors import CallerError
from schemas.frames import Send
from schemas.turns import LATEST, Options
from tests.producers.support.asked import CONVERSATION, TURN


def test_a_frame_is_an_ask_like_any() -> None:
    """A frame's text, thread and parent arrive, and what was said is stored."""
    ask = sending.ask(Send(text="hi", conversation=CONVERSATION, parent=TURN, options=Options(max_tokens=3)))
    assert (ask.text, ask.conversation, ask.parent, ask.stored) == ("hi", CONVERSATION, TURN, True)
    assert ask.options.max_tokens == 3
    assert sending.ask(Send(text="hi")).parent == LATEST
    assert sending.ask(Send(text="hi", conversation=CONVERSATION, parent=None)).parent is None


@pytest.mark.parametrize(
    ("frame", "param"),
    [
        (Send(text=""), "text"),
        (Send(text="x", conversation="conv_1"), "conversation"),
        (Send(text="x", conversation=CONVERSATION, parent="resp_1"), "parent"),
        (Send(text="x", parent=TURN), "parent"),
        (Send(text="x", options=Options(temperature=9)), "options.temperature"),
        (Send(text="x", options=Options(top_p=0)), "options.top_p"),
        (Send(text="x", options=Options(stop=("",))), "options.stop"),
    ],
)
def test_refusals_name_the_field(frame: Send, param: str) -> None:
    """A frame's fault is told with its field."""
    with pytest.raises(CallerError) as refused:
        sending.ask(frame)
    assert refused.value.param == param
