"""One full value of every record, the same on every run: what golden files and schema tests are made from."""

import dataclasses
from collections.abc import Mapping
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from schemas import codec, ids
from schemas.records import Record

CONVERSATION = ids.conversation_id("0192f0a0c0de7000800000000000000a")
TURN = ids.turn_id(CONVERSATION, "0192f0a0c0de7001800000000000000b")
AT = "2026-01-31T12:00:00.123Z"

_TEXTS = {"conversation": CONVERSATION, "turn": TURN, "at": AT, "tenant": "acme", "text": "Grüße, 世界 🌍\n"}


def sample(kind: type[Any]) -> Any:
    """A value of this dataclass in which no field is left at a default."""
    hints = get_type_hints(kind)
    return kind(**{field.name: _value(field.name, hints[field.name]) for field in dataclasses.fields(kind)})


def samples() -> dict[str, Record]:
    """A full value of every record type, by its type's name."""
    return {name: sample(kind) for name, kind in codec.RECORDS.items()}


def _value(name: str, hint: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return arguments[0]
    if origin in (Union, UnionType):
        return _value(name, next(argument for argument in arguments if argument is not type(None)))
    if origin is tuple:
        return (_value(name, arguments[0]),)
    if origin in (dict, Mapping):
        return {"k": "v"}
    if hasattr(hint, "__supertype__"):
        return TURN if hint.__name__ == "TurnId" else _TEXTS.get(name, CONVERSATION)
    return _plain(name, hint)


def _plain(name: str, hint: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return sample(hint)  # type: ignore[arg-type]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    if hint is bool:
        return True
    if hint is int:
        return 1 if name == "version" else 7
    if hint is float:
        return 0.5
    return AT if name.endswith("_at") else _TEXTS.get(name, f"{name}-text")
