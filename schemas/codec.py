"""Values to bytes and back; the only importer of orjson and msgspec. orjson moves bytes, msgspec checks what was read.

Unknown fields are ignored, an unknown type or version is told apart from a broken record, and every fault names its
place (contract, "Topics").
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec
import orjson

from schemas import records
from schemas.errors import ContractError
from schemas.records import Record

T = TypeVar("T")

RECORDS: Final[Mapping[str, type[Record]]] = {
    kind.__dataclass_fields__["type"].default: kind
    for kind in vars(records).values()
    if isinstance(kind, type)
    and issubclass(kind, Record)
    and isinstance(kind.__dataclass_fields__["type"].default, str)
}

# Made at their first use: one takes some time to make.
_DECODERS: Final[dict[type, msgspec.json.Decoder[Any]]] = {}


class UnknownRecord(ContractError):
    """A type or version that this program doesn't know: readers ignore it."""


def encode(value: object) -> bytes:
    """The value's JSON bytes: the same value gives the same bytes for ever."""
    return orjson.dumps(value)


def decode(raw: bytes | bytearray | memoryview) -> Record:
    """The record in these bytes.

    Raises:
        UnknownRecord: well-formed, but of a type or version that is not ours.
        ContractError: anything else that isn't a record, with the place of the fault.
    """
    value = parse(raw)
    if not isinstance(value, dict):
        raise ContractError("expected a JSON object", place="$")
    name, version = value.get("type"), value.get("version")
    if not isinstance(name, str) or not isinstance(version, int):
        raise ContractError("expected `type` and `version`", place="$")
    kind = RECORDS.get(name)
    if kind is None or version != 1:
        raise UnknownRecord(f"no reader for {name[:60]!r} version {version}", place="$.type")
    return convert(value, kind)


def parse(raw: bytes | bytearray | memoryview | str) -> Any:
    """Plain values out of JSON bytes. Raises ContractError with the position of the fault."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ContractError(f"not JSON: {error}", place=f"byte {error.pos}") from None


def convert(value: object, kind: type[T]) -> T:
    """The plain value as a typed one. Raises ContractError with the JSON path of the fault."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _misfit(error) from None


def _misfit(error: msgspec.ValidationError) -> ContractError:
    what, _, place = str(error).partition(" - at `")
    return ContractError(what, place=place.rstrip("`") or "$")


def decode_as(raw: bytes, kind: type[T]) -> T:
    """The typed value in JSON bytes in one step, for bytes of a kind that is known. Raises ContractError."""
    try:
        raw.decode()  # a string that no field takes is passed over unread
        decoder = _DECODERS.get(kind) or _DECODERS.setdefault(kind, msgspec.json.Decoder(kind))
        decoded: T = decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _misfit(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ContractError(f"not JSON: {error}", place="$") from None
    return decoded


def headers(record: Record, role: str, trace: str | None = None) -> tuple[tuple[str, bytes], ...]:
    """CloudEvents 1.0 in Kafka's binary mode, and the bare trace context.

    Args:
        role: the service that writes, as in `/parley/<role>`.
        trace: the `traceparent` of what led to the record, where the record itself carries none.

    Source: CloudEvents Kafka protocol binding 1.0.2, section 3.2.
    """
    subject = record.turn or record.conversation
    named = (
        ("ce_specversion", "1.0"),
        ("ce_id", record.id),
        ("ce_type", f"parley.{record.type}"),
        ("ce_source", f"/parley/{role}"),
        ("ce_time", record.at),
        ("ce_subject", subject),
        ("ce_tenant", record.tenant),
        ("ce_dataschema", f"parley:{record.type}:{record.version}"),
        ("content-type", "application/json"),
        ("traceparent", _traceparent(record) or trace),
    )
    return tuple((name, text.encode()) for name, text in named if text is not None)


def _traceparent(record: Record) -> str | None:
    carrier = getattr(record, "request", record)
    return getattr(carrier, "traceparent", None)


def json_schema(kind: type) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a record or frame."""
    return msgspec.json.schema(kind)


def json_schemas(kinds: Iterable[type], template: str) -> dict[str, Any]:
    """The JSON Schemas of these and of all that they are made of, by name.

    Args:
        template: of references, with `{name}` in it.
    """
    return msgspec.json.schema_components(kinds, ref_template=template)[1]
