"""`POST /v1/chat/completions`: its body as an Ask. Each completion is a conversation of its own."""

from collections.abc import Mapping
from typing import Any, Final

from producers.admission import limits
from producers.admission.asks import Ask, Dialect
from producers.admission.messages import spoken
from producers.admission.parameters import Neutral, Parameters, any_flag, any_text, empty, one_of
from producers.admission.responses import options
from schemas.errors import CallerError

SERVED: Final = frozenset({
    "messages", "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p",
    "stop", "seed", "presence_penalty", "frequency_penalty", "metadata", "store", "user", "safety_identifier",
    "deadline_s",
})  # fmt: skip

NEUTRAL: Final[Mapping[str, Neutral]] = {
    "n": one_of(1),
    "tools": empty,
    "tool_choice": one_of("auto", "none"),
    "parallel_tool_calls": any_flag,
    "functions": empty,
    "function_call": one_of("auto", "none"),
    "logprobs": one_of(False),
    "top_logprobs": one_of(0),
    "logit_bias": empty,
    "response_format": one_of({"type": "text"}),
    "modalities": one_of(["text"]),
    "service_tier": one_of("auto", "default"),
    "reasoning_effort": one_of("none"),
    "verbosity": one_of("medium"),
    "prompt_cache_key": any_text,
    "prompt_cache_retention": any_text,
    "prompt_cache_options": lambda given: isinstance(given, dict),
    "prediction": empty,
    "audio": empty,
    "moderation": empty,
}
PARTLY: Final = frozenset({
    "n", "tool_choice", "function_call", "logprobs", "top_logprobs", "response_format", "modalities", "service_tier",
    "reasoning_effort", "verbosity",
})  # fmt: skip


def ask(parameters: Parameters) -> Ask:
    """The request as an Ask. Raises CallerError and its kinds; nothing is looked up."""
    parameters.refuse_others(SERVED, NEUTRAL, PARTLY)
    if "messages" not in parameters.given:
        raise CallerError("messages is required", param="messages")
    said = spoken(parameters.given["messages"], "messages")
    is_stream = parameters.flag("stream", default=False)
    stream_options: Mapping[str, Any] = parameters.stream_options(frozenset({"include_usage"}), is_stream=is_stream)
    return Ask(
        dialect=Dialect.CHAT,
        text=said.text,
        stored=parameters.flag("store", default=False),
        user=parameters.user(),
        parent=None,
        model=parameters.text("model", most=200),
        instructions=said.instructions,
        history=said.history,
        options=options(parameters, _max_tokens(parameters)),
        metadata=parameters.metadata(),
        deadline_s=parameters.number("deadline_s", 1, limits.MAX_DEADLINE_S),
        is_stream=is_stream,
        includes_usage="include_usage" in stream_options,
    )


def _max_tokens(parameters: Parameters) -> int | None:
    """`max_completion_tokens`, or `max_tokens`, its older name."""
    newer = parameters.whole("max_completion_tokens", 1, 10**6)
    older = parameters.whole("max_tokens", 1, 10**6)
    return older if newer is None else newer
