"""A reader's `send` frame as an Ask, the same as if it had come by HTTP."""

from producers.admission import limits
from producers.admission.asks import Ask, Dialect
from producers.admission.parameters import named
from schemas import ids
from schemas.errors import CallerError
from schemas.frames import Send
from schemas.turns import LATEST, Options


def ask(send: Send) -> Ask:
    """The frame as an Ask. Raises CallerError, TooLarge."""
    _check(send.options)
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
        options=send.options,
    )


def _check(options: Options) -> None:
    in_range = (
        ("max_tokens", options.max_tokens, 1, 10**6),
        ("temperature", options.temperature, 0, 2),
        ("presence_penalty", options.presence_penalty, -2, 2),
        ("frequency_penalty", options.frequency_penalty, -2, 2),
    )
    for name, value, low, high in in_range:
        if value is not None and not low <= value <= high:
            raise CallerError(f"options.{name} must be from {low} to {high}", param=f"options.{name}")
    if options.top_p is not None and not 0 < options.top_p <= 1:
        raise CallerError("options.top_p must be above 0 and at most 1", param="options.top_p")
    if len(options.stop) > limits.MAX_STOPS or any(
        not 1 <= len(text) <= limits.MAX_STOP_CHARACTERS for text in options.stop
    ):
        raise CallerError(f"options.stop takes up to {limits.MAX_STOPS} texts", param="options.stop")
