"""`POST /v1/responses`: its body as an Ask."""

from collections.abc import Mapping
from typing import Any, Final

from producers.admission import limits
from producers.admission.asks import Ask, Dialect
from producers.admission.messages import Spoken, spoken
from producers.admission.parameters import Neutral, Parameters, any_flag, any_text, empty, named, one_of
from schemas import ids
from schemas.errors import CallerError, UnsupportedValue
from schemas.turns import LATEST, Options

SERVED: Final = frozenset({
    "input", "model", "stream", "stream_options", "background", "conversation", "previous_response_id", "instructions",
    "store", "metadata", "max_output_tokens", "temperature", "top_p", "user", "safety_identifier",
    # Ours, as in chat completions or in frames: additions that break nobody.
    "stop", "seed", "presence_penalty", "frequency_penalty", "on_busy", "deadline_s",
})  # fmt: skip


def _plain_text(given: Any) -> bool:
    """`text` asks for plain text at the usual length."""
    if not isinstance(given, dict):
        return False
    wanted = given.get("format") or {"type": "text"}
    return wanted == {"type": "text"} and given.get("verbosity") in (None, "medium") and not given.keys() - _TEXT


def _no_reasoning(given: Any) -> bool:
    """`reasoning` asks for none."""
    return isinstance(given, dict) and all(value in (None, "none") for value in given.values())


_TEXT: Final = {"format", "verbosity"}

NEUTRAL: Final[Mapping[str, Neutral]] = {
    "include": empty,
    "tools": empty,
    "tool_choice": one_of("auto", "none"),
    "parallel_tool_calls": any_flag,
    "max_tool_calls": lambda given: isinstance(given, int),
    "text": _plain_text,
    "reasoning": _no_reasoning,
    # What doesn't fit is left out, whole turns, the oldest first; both words pass, since one is everybody's default.
    "truncation": one_of("auto", "disabled"),
    "top_logprobs": one_of(0),
    "service_tier": one_of("auto", "default"),
    "prompt_cache_key": any_text,
    "prompt_cache_retention": any_text,
    "prompt_cache_options": lambda given: isinstance(given, dict),
    "context_management": empty,
    "background_options": empty,
    "moderation": empty,
    "access_programs": empty,
    "image": empty,
    "prompt": empty,
    "n": one_of(1),
}
PARTLY: Final = frozenset({"tool_choice", "text", "reasoning", "truncation", "top_logprobs", "service_tier", "n"})


def ask(parameters: Parameters) -> Ask:
    """The request as an Ask. Raises CallerError and its kinds; nothing is looked up."""
    parameters.refuse_others(SERVED, NEUTRAL, PARTLY)
    said = _input(parameters)
    is_stream = parameters.flag("stream", default=False)
    parameters.stream_options(frozenset(), is_stream=is_stream)
    previous = parameters.text("previous_response_id")
    stored = parameters.flag("store", default=True)
    asked = Ask(
        dialect=Dialect.RESPONSES,
        text=said.text,
        stored=stored,
        user=parameters.user(),
        conversation=_conversation(parameters),
        previous=None if previous is None else named(ids.parse_turn, previous, "previous_response_id"),
        parent=LATEST if previous is None else named(ids.parse_turn, previous, "previous_response_id"),
        model=parameters.text("model", most=200),
        instructions=_joined(_instructions(parameters), said.instructions),
        history=said.history,
        options=options(parameters, parameters.whole("max_output_tokens", 1, 10**6)),
        metadata=parameters.metadata(),
        on_busy=parameters.on_busy(),
        deadline_s=parameters.number("deadline_s", 1, limits.MAX_DEADLINE_S),
        is_stream=is_stream,
        is_background=parameters.flag("background", default=False),
    )
    return _consistent(asked)


def options(parameters: Parameters, max_tokens: int | None) -> Options:
    """How to generate; both dialects share these names."""
    top_p = parameters.number("top_p", 0, 1)
    if top_p == 0:
        raise UnsupportedValue("top_p must be above 0; temperature: 0 asks for the likeliest token", param="top_p")
    return Options(
        max_tokens=max_tokens,
        temperature=parameters.number("temperature", 0, 2),
        top_p=top_p,
        stop=parameters.stops(),
        seed=parameters.whole("seed", -(2**63), 2**63 - 1),
        presence_penalty=parameters.number("presence_penalty", -2, 2) or 0.0,
        frequency_penalty=parameters.number("frequency_penalty", -2, 2) or 0.0,
    )


def _input(parameters: Parameters) -> Spoken:
    given = parameters.given.get("input")
    if given is None:
        raise CallerError("input is required: a text or a list of messages", param="input")
    if isinstance(given, str):
        return Spoken(instructions=None, history=(), text=limits.checked_message(given, "input"))
    return spoken(given, "input")


def _instructions(parameters: Parameters) -> str | None:
    text = parameters.text("instructions")
    return limits.checked_message(text, "instructions") if text else None


def _joined(*texts: str | None) -> str | None:
    return "\n\n".join(text for text in texts if text) or None


def _conversation(parameters: Parameters) -> ids.ConversationId | None:
    given = parameters.given.get("conversation")
    text = given.get("id") if isinstance(given, dict) else given
    if text is None:
        return None
    if not isinstance(text, str):
        raise CallerError("conversation must be an id, or an object with an id", param="conversation")
    conversation: ids.ConversationId = named(ids.parse_conversation, text, "conversation")
    return conversation


def _consistent(asked: Ask) -> Ask:
    """The Ask itself. Raises CallerError when two parameters exclude each other."""
    if asked.previous is not None and asked.conversation is not None:
        raise CallerError(
            "previous_response_id and conversation exclude each other: the response names its conversation",
            param="previous_response_id",
        )
    if asked.is_background and not asked.stored:
        raise CallerError("background needs store: true, or nobody could fetch the answer", param="background")
    if not asked.stored and (asked.previous is not None or asked.conversation is not None):
        raise UnsupportedValue("store: false is only supported for a call that continues nothing", param="store")
    return asked
