from typing import Any

import pytest

from producers.admission import chat
from producers.admission.asks import Dialect
from producers.admission.parameters import Parameters
from schemas.errors import CallerError


def _ask(**body: Any) -> Any:
    return chat.ask(Parameters({"messages": [{"role": "user", "content": "hi"}], **body}))


def test_the_least_request() -> None:
    """Messages alone are a turn that isn't stored and follows nothing."""
    ask = _ask()
    assert (ask.dialect, ask.text, ask.stored, ask.parent) == (Dialect.CHAT, "hi", False, None)


def test_both_names_of_the_most_tokens() -> None:
    """The newer name of a parameter wins over the older."""
    assert _ask(max_tokens=3).options.max_tokens == 3
    assert _ask(max_tokens=3, max_completion_tokens=4).options.max_tokens == 4


NEUTRAL = {
    "n": 1, "tools": [], "tool_choice": "none", "functions": [], "function_call": "none", "logprobs": False,
    "logit_bias": {}, "response_format": {"type": "text"}, "modalities": ["text"], "verbosity": "medium",
    "service_tier": "default", "parallel_tool_calls": False, "prompt_cache_key": "k", "reasoning_effort": "none",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_what_asks_for_nothing_passes(name: str) -> None:
    """A known parameter at a neutral value changes nothing."""
    assert _ask(**{name: NEUTRAL[name]}) == _ask()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("tools", [{"type": "function"}]),
        ("logprobs", True),
        ("response_format", {"type": "json_object"}),
        ("modalities", ["text", "audio"]),
        ("logit_bias", {"1": 2}),
        ("web_search_options", {}),
        ("conversation", "conv_1"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(name: str, value: Any) -> None:
    """Nothing that a client asks for is ignored."""
    with pytest.raises(CallerError) as refused:
        _ask(**{name: value})
    assert refused.value.param == name
