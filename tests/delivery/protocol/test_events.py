"""Records on their way to readers."""

import pytest

from delivery.protocol import events
from delivery.protocol.events import LogEvent
from schemas import codec
from schemas.errors import ContractError
from schemas.records import LogRecord
from tests.delivery.protocol.readings import entries, logged
from tests.support import samples
from tests.support.samples import CONVERSATION

KINDS = (
    "turn.accepted",
    "turn.queued",
    "turn.started",
    "turn.delta",
    "turn.ended",
    "conversation.reset",
    "conversation.moved",
)


@pytest.mark.parametrize("kind", KINDS)
def test_readers_see_the_record_without_token_ids(kind: str) -> None:
    """Each kind of the log reaches readers field by field, but for the ids of tokens."""
    record: LogRecord = samples.samples()[kind]  # type: ignore[assignment]
    event = LogEvent(logged(entries([record], 3)[0]), CONVERSATION, "p")
    value = codec.parse(codec.encode(record))
    value.pop("token_ids", None)
    payload = codec.parse(event.frame[4:] if event.frame[1] == 126 else event.frame[2:])
    assert payload == {"type": "event", "conversation": CONVERSATION, "position": "p", "event": value}


def test_a_release_is_no_event() -> None:
    """What workers tell each other in the log is dropped before any reader, as an unknown type is."""
    assert events.read(0, codec.encode(samples.samples()["turn.released"])) is None
    assert events.read(0, b'{"type":"turn.imagined","version":1}') is None


def test_unknown_fields_reach_readers() -> None:
    """A field that this program doesn't know is a newer one's word to its clients."""
    found = events.read(0, b'{"type":"conversation.reset","version":1,"id":"i","at":"t","order":1,"new":5}')
    assert found is not None
    assert codec.parse(found.shown)["new"] == 5


DELTA = (
    b'{"type":"turn.delta","version":1,"id":"i","at":"t","turn":null,"attempt":1,"seq":2,"text":"a"%s,"tokens":1,'
    b'"channel":"text"}'
)


@pytest.mark.parametrize(
    "more",
    [
        b"",
        b',"new":{"deep":[1,"\xc3\xa9"]}',
        b',"token_ids":[]',
        b',"token_ids":[1,2]',
        b',"token_ids":[1,2],"new":"],"',
        b',"token_ids":[1,2],"new":{"token_ids":[1]}',
        b',"token_ids":[1,2],"new":[5]',
        b',"token_ids":[1,2],"new":{"x":[1],"tokens":2}',
        b',"token_ids" : [1]',
        b',"new":{"token_ids":[1]},"token_ids":[2]',
        rb',"new":"\"token_ids\":[9],"',
    ],
)
def test_however_a_delta_is_written_readers_see_all_but_its_ids(more: bytes) -> None:
    """A delta's bytes are handed on as they came; the ids are taken out wherever and however they stand."""
    raw = DELTA % more
    found = events.read(0, raw)
    assert found is not None
    wanted = codec.parse(raw)
    wanted.pop("token_ids", None)
    assert codec.parse(found.shown) == wanted


def test_a_deltas_bytes_are_handed_on_as_they_came() -> None:
    """What our workers write isn't written anew for each record: a number keeps its form."""
    raw = codec.encode(samples.samples()["turn.delta"])
    found = events.read(0, raw[:-1] + b',"new":1.50e2}')
    assert found is not None
    assert found.shown.endswith(b',"new":1.50e2}')


@pytest.mark.parametrize("more", [b',"new":"\xff"', b',"new":[1,}', b',"new":1}x'])
def test_a_delta_that_is_not_json_is_told(more: bytes) -> None:
    """A broken field that this program doesn't know would break its readers."""
    with pytest.raises(ContractError):
        events.read(0, DELTA % more)


@pytest.mark.parametrize("raw", [b"", b"[]", b"nul", b'{"type":"turn.delta","version":1}'])
def test_what_is_no_record_is_told(raw: bytes) -> None:
    """Bytes that break the contract raise; they are never shown."""
    with pytest.raises(ContractError):
        events.read(0, raw)


def test_a_subscriptions_own_event_names_it() -> None:
    """The gateway's subscriptions to single turns find their `ref` in each event."""
    record: LogRecord = samples.samples()["turn.delta"]  # type: ignore[assignment]
    frame = LogEvent(logged(entries([record])[0]), CONVERSATION, "p", ref=4).frame
    assert codec.parse(frame[4:])["ref"] == 4
