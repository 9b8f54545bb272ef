"""Values become bytes and bytes become the same values, for ever; what is broken is named with its place."""

import contextlib
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from schemas.errors import ContractError
from tests.support.samples import samples

GOLDEN = Path(__file__).parents[1] / "golden"
SAMPLES = samples()


@pytest.mark.parametrize("name", SAMPLES)
def test_round_trip(name: str) -> None:
    """A record read back from its bytes is equal, and its bytes are the same again."""
    raw = codec.encode(SAMPLES[name])
    assert codec.decode(raw) == SAMPLES[name]
    assert codec.encode(codec.decode(raw)) == raw


@pytest.mark.parametrize("name", SAMPLES)
def test_golden_bytes_stay_readable(name: str) -> None:
    """Bytes written by the first release of a record's version are read for ever."""
    value = codec.decode((GOLDEN / f"{name}.1.json").read_bytes())
    assert value.type == name
    assert value.conversation == SAMPLES[name].conversation


@pytest.mark.parametrize("name", SAMPLES)
def test_envelope_comes_first(name: str) -> None:
    """Every value begins with the envelope, in the contract's order."""
    fields = list(json.loads(codec.encode(SAMPLES[name])))
    assert fields[:8] == ["type", "version", "id", "at", "tenant", "conversation", "turn", "attempt"]


@pytest.mark.parametrize("name", SAMPLES)
def test_published_schema_admits_the_bytes(name: str) -> None:
    """The JSON Schema of a record is a valid one and admits the record's own bytes."""
    schema = codec.json_schema(codec.RECORDS[name])
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(codec.encode(SAMPLES[name])), schema)


@pytest.mark.parametrize("name", SAMPLES)
def test_unknown_fields_are_ignored(name: str) -> None:
    """A field that a later release added is no fault."""
    value = json.loads(codec.encode(SAMPLES[name])) | {"added_later": {"deep": [1]}}
    assert codec.decode(json.dumps(value).encode()) == SAMPLES[name]


def test_unknown_type_and_version_are_told_apart() -> None:
    """A record of another type or version is unknown, not broken."""
    value = json.loads(codec.encode(SAMPLES["turn.delta"]))
    for change in ({"type": "turn.teleported"}, {"version": 2}):
        with pytest.raises(codec.UnknownRecord):
            codec.decode(json.dumps(value | change).encode())


@pytest.mark.parametrize(
    ("field", "wrong", "place"),
    [("seq", "7", "$.seq"), ("text", None, "$.text"), ("token_ids", [1, "2"], "$.token_ids[1]"), ("id", 3, "$.id")],
)
def test_a_fault_is_named_with_its_place(field: str, wrong: object, place: str) -> None:
    """A field of the wrong type is refused, and the error says where it is."""
    value = json.loads(codec.encode(SAMPLES["turn.delta"])) | {field: wrong}
    with pytest.raises(ContractError) as caught:
        codec.decode(json.dumps(value).encode())
    assert caught.value.place == place


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_a_contract_error(raw: bytes) -> None:
    """No bytes make the reader fail in any other way."""
    with contextlib.suppress(ContractError):
        codec.decode(raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_any_json_in_a_field_is_a_record_or_a_contract_error(value: object) -> None:
    """No JSON in place of a nested value makes the reader fail in any other way."""
    whole = json.loads(codec.encode(SAMPLES["TurnRequested"])) | {"request": value}
    with contextlib.suppress(ContractError):
        codec.decode(json.dumps(whole).encode())


def test_headers_are_cloudevents_in_binary_mode() -> None:
    """A record's headers are CloudEvents 1.0 attributes and the bare trace context."""
    names = dict(codec.headers(SAMPLES["TurnRequested"], "gateway"))
    assert names["ce_specversion"] == b"1.0"
    assert names["ce_type"] == b"parley.TurnRequested"
    assert names["ce_source"] == b"/parley/gateway"
    assert names["ce_dataschema"] == b"parley:TurnRequested:1"
    assert names["content-type"] == b"application/json"
    assert names["traceparent"] == b"traceparent-text"
    assert dict(codec.headers(SAMPLES["TurnRequested"], "gateway", "other"))["traceparent"] == b"traceparent-text"
    delta = SAMPLES["turn.delta"]
    assert "traceparent" not in dict(codec.headers(delta, "inference"))
    assert dict(codec.headers(delta, "inference", "its-turn's"))["traceparent"] == b"its-turn's"
    assert names["ce_subject"] == (SAMPLES["TurnRequested"].turn or "").encode()
