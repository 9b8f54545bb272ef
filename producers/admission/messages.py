"""The client's list of messages: instructions first, history, and the user's text last."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from producers.admission import limits
from schemas.errors import CallerError, UnsupportedValue
from schemas.turns import Message, Role

_ROLES: Final[Mapping[str, Role]] = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
# A text part's type is the dialect's word for who wrote it; all of them carry `text`.
_TEXT_PARTS: Final = frozenset({"text", "input_text", "output_text"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A list of messages, taken apart.

    Args:
        instructions: what system messages at the head say: it is never dropped to fit a model. None = nothing.
        history: what stands between, oldest first.
        text: the last message, the user's.
    """

    instructions: str | None
    history: tuple[Message, ...]
    text: str


def spoken(messages: Any, param: str) -> Spoken:
    """The messages, read. Raises CallerError, UnsupportedValue, TooLarge."""
    if not isinstance(messages, list) or not messages:
        raise CallerError(f"{param} must be a list of at least one message", param=param)
    read = [_message(each, f"{param}[{index}]") for index, each in enumerate(messages)]
    if read[-1].role is not Role.USER:
        raise UnsupportedValue(f"the last of {param} must be the user's message", param=param)
    # A system message without a text says nothing.
    read = [each for each in read if each.text or each.role is not Role.SYSTEM]
    head = next(index for index, each in enumerate(read) if each.role is not Role.SYSTEM)
    return Spoken(
        instructions="\n\n".join(each.text for each in read[:head]) or None,
        history=tuple(read[head:-1]),
        text=read[-1].text,
    )


def _message(value: Any, param: str) -> Message:
    if not isinstance(value, dict):
        raise CallerError(f"{param} must be an object", param=param)
    if value.get("type", "message") != "message":
        raise UnsupportedValue(f"{param}.type: only messages are supported", param=f"{param}.type")
    role = _ROLES.get(str(value.get("role")))
    if role is None:
        raise UnsupportedValue(f"{param}.role must be one of {', '.join(_ROLES)}", param=f"{param}.role")
    for name in ("tool_calls", "function_call", "audio"):
        if value.get(name):
            raise UnsupportedValue(f"{param}.{name} is not supported", param=f"{param}.{name}")
    text = _content(value.get("content"), f"{param}.content")
    if role is not Role.USER and not text:
        # A refused or stopped answer comes back empty, and says nothing.
        return Message(role, "")
    return Message(role, limits.checked_message(text, f"{param}.content"))


def _content(value: Any, param: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise CallerError(f"{param} must be a string or a list of parts", param=param)
    return "".join(_part(part, f"{param}[{index}]") for index, part in enumerate(value))


def _part(value: Any, param: str) -> str:
    if not isinstance(value, dict):
        raise CallerError(f"{param} must be an object", param=param)
    kind = value.get("type")
    text = value.get("refusal") if kind == "refusal" else value.get("text")
    if kind not in _TEXT_PARTS and kind != "refusal":
        raise UnsupportedValue(f"{param}.type: only text is supported", param=f"{param}.type")
    if not isinstance(text, str):
        raise CallerError(f"{param}.text must be a string", param=f"{param}.text")
    return text
