"""A request's JSON object, read parameter by parameter: every fault names the parameter, nothing is ignored.

A known parameter at a value that asks for nothing passes; one that would change the answer and isn't served is refused
by name (contract, "HTTP"). The tables of neutral values stand beside the dialects that use them.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from producers.admission import limits
from schemas import codec, ids
from schemas.errors import CallerError, ContractError, TooLarge, UnsupportedParameter, UnsupportedValue
from schemas.turns import OnBusy

_SHOWN_CHARACTERS: Final = 60

Neutral = Callable[[Any], bool]


def one_of(*values: Any) -> Neutral:
    """Neutral are these values; True is not 1 here, as it isn't in JSON."""
    return lambda given: any(type(given) is type(value) and given == value for value in values)


def empty(given: Any) -> bool:
    """Neutral is what asks for nothing: an empty list or object, false, 0."""
    return not given


def any_text(given: Any) -> bool:
    """Neutral is any text: a hint that can't change an answer."""
    return isinstance(given, str)


def any_flag(given: Any) -> bool:
    """Neutral is either way: without tools, for one, it decides nothing."""
    return isinstance(given, bool)


class Parameters:
    """The parameters of one request.

    Args:
        body: the JSON value as it was read.

    Raises:
        CallerError: it isn't an object.
    """

    def __init__(self, body: Any) -> None:
        if not isinstance(body, dict):
            raise CallerError("the body must be a JSON object")
        self.given: Final[Mapping[str, Any]] = {name: value for name, value in body.items() if value is not None}

    def refuse_others(self, served: frozenset[str], neutral: Mapping[str, Neutral], partly: frozenset[str]) -> None:
        """Raise for the first parameter that is neither served nor neutral.

        Args:
            partly: those of `neutral` that are served at some values: their others are unsupported values.
        """
        for name, value in self.given.items():
            if name in served or (name in neutral and neutral[name](value)):
                continue
            if name in partly:
                raise UnsupportedValue(f"{name} is not supported at this value: {_shown(value)}", param=name)
            raise UnsupportedParameter(f"{name} is not supported: leave it out", param=name)

    def text(self, name: str, *, most: int | None = None) -> str | None:
        """The text, None when it isn't there. `most`: characters."""
        value = self.given.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise CallerError(f"{name} must be a string", param=name)
        if most is not None and not 1 <= len(value) <= most:
            raise CallerError(f"{name} must have 1 to {most} characters", param=name)
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """The truth value."""
        value = self.given.get(name, default)
        if not isinstance(value, bool):
            raise CallerError(f"{name} must be true or false", param=name)
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        """The number, within low..high."""
        value = self.given.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise CallerError(f"{name} must be a number from {low:g} to {high:g}", param=name)
        return float(value)

    def whole(self, name: str, low: int, high: int) -> int | None:
        """The whole number, within low..high."""
        value = self.given.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise CallerError(f"{name} must be a whole number from {low} to {high}", param=name)
        return value

    def user(self) -> str | None:
        """`user`, or `safety_identifier`, its newer name."""
        return self.text("user", most=ids.MAX_USER_CHARACTERS) or self.text(
            "safety_identifier", most=ids.MAX_USER_CHARACTERS
        )

    def metadata(self) -> dict[str, str]:
        """Up to 16 pairs of text."""
        value = self.given.get("metadata", {})
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise CallerError("metadata must be an object of strings", param="metadata")
        if len(value) > limits.MAX_METADATA_PAIRS:
            raise CallerError(f"metadata has more than {limits.MAX_METADATA_PAIRS} pairs", param="metadata")
        for key, text in value.items():
            too_long = len(key) > limits.MAX_METADATA_KEY_CHARACTERS
            if too_long or len(text) > limits.MAX_METADATA_VALUE_CHARACTERS:
                raise CallerError(
                    f"metadata: a key has at most {limits.MAX_METADATA_KEY_CHARACTERS} characters, "
                    f"a value {limits.MAX_METADATA_VALUE_CHARACTERS}",
                    param="metadata",
                )
        return dict(value)

    def instructions(self) -> str | None:
        """A conversation's own `instructions`; an empty text is none."""
        text = self.text("instructions")
        if text is not None and limits.json_bytes(text) > limits.MAX_INSTRUCTIONS_BYTES:
            most = limits.MAX_INSTRUCTIONS_BYTES // 1024
            raise TooLarge(f"instructions of a conversation have at most {most} KiB", param="instructions")
        return text or None

    def stops(self) -> tuple[str, ...]:
        """`stop`: one text or up to four."""
        value = self.given.get("stop", [])
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise CallerError("stop must be a string or a list of strings", param="stop")
        # An empty text ends nothing.
        texts = [text for text in texts if text]
        if len(texts) > limits.MAX_STOPS or any(len(text) > limits.MAX_STOP_CHARACTERS for text in texts):
            raise CallerError(
                f"stop takes up to {limits.MAX_STOPS} texts of up to {limits.MAX_STOP_CHARACTERS} characters",
                param="stop",
            )
        return tuple(texts)

    def on_busy(self) -> OnBusy:
        """What happens when the conversation has an active turn."""
        value = self.text("on_busy") or OnBusy.QUEUE.value
        if value not in tuple(OnBusy):
            raise UnsupportedValue(f"on_busy must be one of {', '.join(OnBusy)}", param="on_busy")
        return OnBusy(value)

    def stream_options(self, served: frozenset[str], *, is_stream: bool) -> Mapping[str, Any]:
        """The options of the stream, true ones only. Raises for those that aren't served."""
        options = self.given.get("stream_options", {})
        if not isinstance(options, dict):
            raise CallerError("stream_options must be an object", param="stream_options")
        if options and not is_stream:
            raise CallerError("stream_options needs stream: true", param="stream_options")
        for name, value in options.items():
            if value not in (None, True, False):
                raise CallerError(f"stream_options.{name} must be true or false", param=f"stream_options.{name}")
            if value and name not in served:
                raise UnsupportedParameter(
                    f"stream_options.{name} is not supported: leave it out", param=f"stream_options.{name}"
                )
        return {name: value for name, value in options.items() if value}


def parsed(raw: bytes) -> Parameters:
    """The parameters in a body's bytes. Raises CallerError, TooLarge."""
    if len(raw) > limits.MAX_BODY_BYTES:
        raise limits.body_too_large()
    try:
        return Parameters(codec.parse(raw) if raw else {})
    except ContractError as error:
        raise CallerError(f"the body is {error}") from None


def named(read: Callable[[str], Any], text: str, param: str) -> Any:
    """An id out of text by one of `schemas.ids`' readers; its fault becomes the caller's."""
    try:
        return read(text)
    except ContractError as error:
        raise CallerError(str(error), param=param) from None


def _shown(value: Any) -> str:
    try:
        text = codec.encode(value).decode()
    except TypeError:
        # Nested deeper than can be written again.
        return f"a deeply nested {'object' if isinstance(value, dict) else 'list'}"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
