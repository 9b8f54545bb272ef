"""One setting's value out of TOML or text, by the type of its field. Pure; called by `settings` only."""

import math
import types
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

_YES: Final = frozenset({"true", "1", "yes", "on"})
_NO: Final = frozenset({"false", "0", "no", "off"})
_NAMES: Final = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}


class Refused(ValueError):
    """The value doesn't fit the field's type. `str()` completes the sentence `<name>: …`."""


def converted(hint: Any, value: Any, *, is_text: bool) -> Any:
    """The value as the field's type.

    Args:
        hint: str, int, float, bool, Path, a StrEnum, Literal of texts, `tuple[X, ...]` of these, or one `| None`.
        value: TOML's value, or text.
        is_text: True when it comes as text: numbers are parsed, tuples split at commas, empty is None if allowed.

    Raises:
        Refused: it doesn't fit.
    """
    options = _options(hint)
    if options is not None:
        if value is None or (is_text and value == ""):
            return None
        return converted(options, value, is_text=is_text)
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(parts, list):
            raise Refused(f"{value!r} is not a list")
        return tuple(converted(item, part, is_text=is_text or isinstance(value, str)) for part in parts)
    if get_origin(hint) is Literal:
        return _one_of(value, get_args(hint))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint(_one_of(value, tuple(each.value for each in hint)))
    return _scalar(hint, value, is_text=is_text)


def described(hint: Any) -> str:
    """The type in a reader's words."""
    options = _options(hint)
    if options is not None:
        return f"{described(options)}, or none"
    if get_origin(hint) is tuple:
        return f"list of {described(get_args(hint)[0])}"
    if get_origin(hint) is Literal:
        return " or ".join(get_args(hint))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return " or ".join(each.value for each in hint)
    return _NAMES[hint]


def _options(hint: Any) -> Any:
    """X of `X | None`; None when the hint allows no None."""
    if get_origin(hint) not in (Union, types.UnionType):
        return None
    rest = [each for each in get_args(hint) if each is not type(None)]
    if len(rest) != 1:
        raise TypeError(f"a setting is of one type, or of one and None: {hint}")
    return rest[0]


def _one_of(value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise Refused(f"{value!r} is none of {', '.join(allowed)}")
    return str(value)


def _scalar(hint: Any, value: Any, *, is_text: bool) -> Any:
    if hint is bool:
        return _truth(value, is_text=is_text)
    if hint in (str, Path):
        if not isinstance(value, str):
            raise Refused(f"{value!r} is not text")
        return value if hint is str else Path(value).expanduser()
    if hint not in (int, float):
        raise TypeError(f"no setting can be of type {hint}")
    return _number(hint, value, is_text=is_text)


def _truth(value: Any, *, is_text: bool) -> bool:
    if isinstance(value, bool):
        return value
    if is_text and isinstance(value, str) and value.lower() in _YES | _NO:
        return value.lower() in _YES
    raise Refused(f"{value!r} is neither true nor false")


def _number(hint: type[int] | type[float], value: Any, *, is_text: bool) -> int | float:
    what = _NAMES[hint]
    if isinstance(value, str) and is_text:
        try:
            number: int | float = hint(value.strip())
        except ValueError:
            raise Refused(f"{value!r} is not a {what}") from None
    elif isinstance(value, bool) or not isinstance(value, int | hint):
        raise Refused(f"{value!r} is not a {what}")
    else:
        number = hint(value)
    if not math.isfinite(number):
        raise Refused(f"{value!r} is not a {what}")
    return number
