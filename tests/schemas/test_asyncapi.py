"""The protocol's document: every frame is in it, and it is what AsyncAPI 3.0 asks of a document."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from schemas import codec
from schemas.asyncapi import ANSWERS, STREAM_URL, UNASKED, document
from schemas.frames import CLIENT_FRAMES, CLOSE_MEANINGS, SERVER_FRAMES, ClientFrame, CloseCode, ErrorFrame
from tests.support.samples import sample

DOCUMENT = document()
SCHEMAS = DOCUMENT["components"]["schemas"]


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """Of a schema whose references lead into the document."""
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def references(value: object) -> Iterator[str]:
    """Every `$ref` in it."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def at(reference: str) -> Any:
    """What a reference of the document leads to."""
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_every_frame_has_its_place() -> None:
    """What a client can send is received and answered; what the server can say is an answer or said by itself."""
    assert set(ANSWERS) == set(CLIENT_FRAMES.values()) == set(get_args(ClientFrame))
    assert {kind for kind in ANSWERS.values() if kind} | set(UNASKED) == set(SERVER_FRAMES.values())
    operations = DOCUMENT["operations"]
    received = {name for name, each in operations.items() if each["action"] == "receive"}
    assert received == set(CLIENT_FRAMES)
    told = {reference.rpartition("/")[2] for each in operations.values() for reference in references(each)}
    assert told - {"stream"} == {*CLIENT_FRAMES, *SERVER_FRAMES} == set(DOCUMENT["channels"]["stream"]["messages"])


@pytest.mark.parametrize("kind", [*CLIENT_FRAMES.values(), *SERVER_FRAMES.values()], ids=lambda kind: kind.__name__)
def test_a_frame_is_valid_under_its_payload(kind: type) -> None:
    """A full value of the frame passes the schema of its message; without its type it doesn't."""
    value = codec.parse(codec.encode(sample(kind)))
    if value["type"] == "event":
        value["event"] = codec.parse(codec.encode(sample(codec.RECORDS["turn.queued"])))
    checks = validator(at(DOCUMENT["components"]["messages"][value["type"]]["payload"]["$ref"]))
    checks.validate(value)
    del value["type"]
    assert not checks.is_valid(value)


def test_each_event_is_of_one_kind() -> None:
    """Every record that a reader of the log sees is one kind of event, by its type; token ids are of none."""
    checks = validator(SCHEMAS["Event"])
    logged = [name for name in codec.RECORDS if re.match(r"(turn|conversation)\.", name) and name != "turn.released"]
    assert len(SCHEMAS["Event"]["properties"]["event"]["oneOf"]) == len(logged)
    for name in logged:
        event = codec.parse(codec.encode(sample(codec.RECORDS[name])))
        checks.validate({"type": "event", "conversation": "c", "position": "p", "event": event})
    assert "token_ids" not in json.dumps(SCHEMAS)


def test_close_codes_are_told() -> None:
    """Every close code stands in the channel, with what it means and whether to come back."""
    told = DOCUMENT["channels"]["stream"]["x-close-codes"]
    assert set(CLOSE_MEANINGS) == set(CloseCode)
    assert {int(code): row["comeBack"] for code, row in told.items()} == {code: code < 4500 for code in CloseCode}
    assert all(f"| {code.value} |" in DOCUMENT["channels"]["stream"]["description"] for code in CloseCode)


def test_references_lead_somewhere() -> None:
    """No reference of the document is broken, and no schema or message is left unused."""
    used = set(references(DOCUMENT))
    assert all(at(reference) is not None for reference in used)
    parts = {f"#/components/{section}/{name}" for section, each in DOCUMENT["components"].items() for name in each}
    assert parts <= used


def test_it_has_what_the_specification_requires() -> None:
    """The fields that AsyncAPI 3.0.0 requires are there, references stand where it wants them, schemas are schemas.

    Source: AsyncAPI Specification 3.0.0, "Schema": the fields marked REQUIRED.
    """
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    for server in DOCUMENT["servers"].values():
        assert {"host", "protocol"} <= set(server)
    for name, operation in DOCUMENT["operations"].items():
        assert operation["action"] in ("send", "receive"), name
        assert set(operation["channel"]) == {"$ref"}
        # Of an operation and of its reply: a subset of the channel's messages, and by reference into the channel.
        for message in (*operation["messages"], *operation.get("reply", {}).get("messages", ())):
            assert message["$ref"].startswith(f"{operation['channel']['$ref']}/messages/")
    for scheme in DOCUMENT["components"]["securitySchemes"].values():
        needed = {"http": {"scheme"}, "httpApiKey": {"name", "in"}}
        assert needed[scheme["type"]] <= set(scheme)
    for section in DOCUMENT["components"].values():
        assert all(re.fullmatch(r"[\w.-]+", name) for name in section)
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_delivery_is_where_it_is_said_to_be() -> None:
    """Host, scheme and path are those of the address given."""
    told = document("wss://chat.example:444/prefix/v1/stream")
    server = told["servers"]["delivery"]
    assert (server["protocol"], server["host"]) == ("wss", "chat.example:444")
    assert told["channels"]["stream"]["address"] == "/prefix/v1/stream"
    assert STREAM_URL.endswith(DOCUMENT["channels"]["stream"]["address"])


def test_an_error_may_answer_anything() -> None:
    """Whatever is asked, an `error` with its `ref` is a possible answer."""
    for name in CLIENT_FRAMES:
        answers = DOCUMENT["operations"][name]["reply"]["messages"]
        assert {"$ref": f"#/channels/stream/messages/{sample(ErrorFrame).type}"} in answers
