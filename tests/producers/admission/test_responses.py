from typing import Any

import pytest

from producers.admission import responses
from producers.admission.asks import Dialect
from producers.admission.parameters import Parameters
from schemas import ids
from schemas.errors import CallerError, UnsupportedValue
from schemas.turns import LATEST, Message, OnBusy, Options, Role
from tests.producers.support.asked import CONVERSATION, TURN


def _ask(**body: Any) -> Any:
    return responses.ask(Parameters({"input": "hi", **body}))


def test_the_least_request() -> None:
    """An input alone is a stored turn of a new conversation."""
    ask = _ask()
    assert (ask.dialect, ask.text, ask.stored, ask.parent) == (Dialect.RESPONSES, "hi", True, LATEST)
    assert (ask.conversation, ask.model, ask.options) == (None, None, Options())


def test_everything_that_is_served() -> None:
    """Each served parameter arrives where it belongs."""
    ask = _ask(
        input=[{"role": "developer", "content": "be kind"}, {"role": "user", "content": "a"},
               {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
        instructions="be brief", model="m", stream=True, metadata={"k": "v"}, max_output_tokens=5, temperature=0,
        top_p=0.5, user="anna", store=True, conversation={"id": CONVERSATION}, on_busy="interrupt", deadline_s=30,
        seed=3, stop="x",
    )  # fmt: skip
    assert (ask.instructions, ask.text) == ("be brief\n\nbe kind", "c")
    assert ask.history == (Message(Role.USER, "a"), Message(Role.ASSISTANT, "b"))
    assert ask.options == Options(max_tokens=5, temperature=0.0, top_p=0.5, stop=("x",), seed=3)
    assert (ask.conversation, ask.user, ask.is_stream) == (CONVERSATION, "anna", True)
    assert (ask.on_busy, ask.deadline_s) == (OnBusy.INTERRUPT, 30.0)


def test_the_previous_response_is_the_parent() -> None:
    """`previous_response_id` names the turn that is followed, also when spelled as a completion."""
    assert _ask(previous_response_id=TURN).parent == TURN
    assert _ask(previous_response_id=ids.completion_id(TURN)).previous == TURN


NEUTRAL = {
    "include": [], "tools": [], "tool_choice": "auto", "parallel_tool_calls": True,
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": None}, "truncation": "auto", "top_logprobs": 0, "service_tier": "auto",
    "prompt_cache_key": "x", "context_management": [], "n": 1, "max_tool_calls": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_what_asks_for_nothing_passes(name: str) -> None:
    """A known parameter at a neutral value changes nothing."""
    assert _ask(**{name: NEUTRAL[name]}) == _ask()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "web_search"}]),
        ("text", {"format": {"type": "json_schema"}}),
        ("reasoning", {"effort": "high"}),
        ("include", ["message.output_text.logprobs"]),
        ("service_tier", "flex"),
        ("n", 2),
        ("prompt", {"id": "p"}),
        ("top_p", 0),
        ("nonsense", 1),
        ("max_output_tokens", 0),
        ("max_output_tokens", True),
        ("conversation", 3),
        ("previous_response_id", "resp_1"),
        ("stream", "yes"),
        ("user", ""),
        ("on_busy", "wait"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(name: str, value: Any) -> None:
    """Nothing that a client asks for is ignored."""
    with pytest.raises(CallerError) as refused:
        _ask(**{name: value})
    assert refused.value.param == name


def test_parameters_that_exclude_each_other() -> None:
    """A thread is named once, and a call that isn't stored continues nothing and is fetched by nobody."""
    for body, kind in (
        ({"previous_response_id": TURN, "conversation": CONVERSATION}, CallerError),
        ({"background": True, "store": False}, CallerError),
        ({"store": False, "conversation": CONVERSATION}, UnsupportedValue),
    ):
        with pytest.raises(kind):
            _ask(**body)
