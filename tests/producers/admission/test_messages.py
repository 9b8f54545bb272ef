import contextlib
from typing import Any

import pytest
from hypothesis import given

from producers.admission.messages import spoken
from schemas.errors import CallerError
from schemas.turns import Message, Role
from tests.producers.admission.test_parameters import JSON


def test_a_list_is_taken_apart() -> None:
    """System messages at the head are instructions, the last is the user's, the rest is history in its order."""
    said = spoken(
        [
            {"role": "system", "content": "one"},
            {"role": "developer", "content": "two"},
            {"role": "user", "content": "hi"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hello"}]},
            {"role": "system", "content": "later"},
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}]},
        ],
        "input",
    )
    assert said.instructions == "one\n\ntwo"
    assert said.history == (
        Message(Role.USER, "hi"),
        Message(Role.ASSISTANT, "hello"),
        Message(Role.SYSTEM, "later"),
    )
    assert said.text == "ab"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("hi", "messages"),
        ([{"role": "assistant", "content": "x"}], "messages"),
        ([{"role": "tool", "content": "x"}], "messages[0].role"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].type"),
        ([{"type": "function_call", "name": "f"}], "messages[0].type"),
        ([{"role": "assistant", "tool_calls": [{}]}, {"role": "user", "content": "x"}], "messages[0].tool_calls"),
    ],
)
def test_refusals_name_the_place(messages: Any, param: str) -> None:
    """What isn't text, or has no role, is refused with its place in the list."""
    with pytest.raises(CallerError) as refused:
        spoken(messages, "messages")
    assert refused.value.param == param


@given(JSON)
def test_any_value_is_read_or_refused(value: Any) -> None:
    """Whatever a client sends as messages, it is read or is the caller's fault."""
    with contextlib.suppress(CallerError):
        spoken(value, "input")


def test_empty_instructions_say_nothing() -> None:
    """System and developer messages without a text are left out, wherever they stand."""
    empty = [{"role": "system", "content": ""}, {"role": "developer", "content": []}]
    hi = {"role": "user", "content": "hi"}
    said = spoken([*empty, hi, *empty, hi], "messages")
    assert (said.instructions, said.history) == (None, (Message(Role.USER, "hi"),))
