"""A reader's `send` frame as an Ask, the same as if it had come by HTTP."""

from collections.abc import Mapping
from typing import Any, Final

from producers.admission import limits, responses
from producers.admission.asks import Ask, Dialect
from producers.admission.parameters import Parameters, named
from schemas import ids
from schemas.errors import CallerError
from schemas.frames import Send
from schemas.turns import LATEST, Options

_SERVED: Final = frozenset({
    "max_tokens", "max_output_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed",
    "presence_penalty", "frequency_penalty",
})  # fmt: skip


def ask(send: Send) -> Ask:
    """The frame as an Ask. Raises CallerError, TooLarge."""
    conversation = None
    if send.conversation is not None:
        conversation = named(ids.parse_conversation, send.conversation, "conversation")
    parent = send.parent
    if parent is not None and parent != LATEST:
        parent = named(ids.parse_turn, parent, "parent")
        if conversation is None or ids.conversation_of(ids.TurnId(parent)) != conversation:
            raise CallerError("parent must be a turn of the conversation", param="parent")
    return Ask(
        dialect=Dialect.STREAM,
        text=limits.checked_message(send.text, "text"),
        stored=True,
        conversation=conversation,
        parent=parent,
        model=send.model,
        options=_options(send.options),
    )


def _options(given: Mapping[str, Any] | None) -> Options:
    """The options, read as HTTP's parameters are: by the same names, within the same bounds. Raises CallerError."""
    parameters = Parameters(dict(given or {}))
    try:
        parameters.refuse_others(_SERVED, {}, frozenset())
        most = [
            parameters.whole(name, 1, 10**6) for name in ("max_output_tokens", "max_completion_tokens", "max_tokens")
        ]
        return responses.options(parameters, next((each for each in most if each is not None), None))
    except CallerError as error:
        param = None if error.param is None else f"options.{error.param}"
        raise type(error)(f"options: {error}", param=param) from None
