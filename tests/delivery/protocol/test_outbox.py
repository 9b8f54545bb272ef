"""The outbox keeps order, merges only deltas that continue each other, and only while the socket is backed up."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from delivery.protocol.events import LogEvent
from delivery.protocol.framing import text_frame
from delivery.protocol.outbox import Outbox
from schemas.records import TurnDelta
from tests.delivery.protocol.readings import entries, logged
from tests.support.logs import TURNS, accepted, delta, ended, started
from tests.support.samples import CONVERSATION


def event(record: Any, offset: int = 0) -> LogEvent:
    """The record as readers get it."""
    return LogEvent(logged(entries([record], offset)[0]), CONVERSATION, f"p{offset}")


def frames(raw: bytes) -> list[dict[str, Any]]:
    """The JSON of text frames."""
    found = []
    while raw:
        size, at = raw[1], 2
        if size == 126:
            size, at = int.from_bytes(raw[2:4], "big"), 4
        found.append(json.loads(raw[at : at + size]))
        raw = raw[at + size :]
    return found


def test_what_the_socket_takes_is_shared_and_not_counted() -> None:
    """Without a backlog events leave as the bytes that all readers share."""
    outbox = Outbox(10)
    events = [event(delta(TURNS[0], 1, seq), seq) for seq in range(3)]
    for each in events:
        outbox.put_event("a", each)
    assert not outbox.is_over
    assert outbox.take() == b"".join(each.frame for each in events)
    assert not outbox


def test_deltas_that_wait_become_one() -> None:
    """`seq` of the first, `last_seq` and position of the last, the texts in order, tokens added up."""
    outbox = Outbox(1 << 20)
    outbox.is_backed_up = True
    for seq in range(3, 6):
        outbox.put_event("a", event(delta(TURNS[0], 1, seq, f"t{seq}"), seq))
    [frame] = frames(outbox.take())
    body = frame["event"]
    assert isinstance(body, dict)
    assert (frame["position"], body["seq"], body["last_seq"], body["text"], body["tokens"]) == ("p5", 3, 5, "t3t4t5", 3)


def test_a_lone_delta_waits_as_it_is() -> None:
    """A delta that found no other leaves as the bytes that all share."""
    outbox = Outbox(1 << 20)
    outbox.is_backed_up = True
    only = event(delta(TURNS[0], 1, 0))
    outbox.put_event("a", only)
    assert outbox.take() is only.frame


def test_other_frames_stand_between() -> None:
    """Deltas are not merged across a record of their conversation, an answer, a turn, an attempt or a gap."""
    outbox = Outbox(1 << 20)
    outbox.is_backed_up = True
    one, two = TURNS[:2]
    sent = [delta(one, 1, 0), started(one, 2), delta(one, 2, 1), delta(two, 1, 0), delta(two, 1, 2), ended(two, 1, 3)]
    for offset, record in enumerate(sent):
        outbox.put_event("a", event(record, offset))
    outbox.put(text_frame(b'{"type":"pong"}'))
    outbox.put_event("a", event(delta(two, 1, 3), 9))
    assert len(frames(outbox.take())) == 8


def test_the_bound_is_told_and_clearing_frees_it() -> None:
    """More than the hard limit is over; what is cleared or taken counts no more."""
    outbox = Outbox(500)
    outbox.is_backed_up = True
    outbox.put_event("a", event(accepted(TURNS[0], 1)))
    outbox.put_event("a", event(delta(TURNS[0], 1, 0, "x" * 500)))
    assert outbox.is_over
    outbox.clear()
    assert (outbox.bytes, bool(outbox), outbox.is_over) == (0, False, False)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=60))
def test_merging_changes_no_text(steps: list[tuple[str, bool]]) -> None:
    """Whatever waits in whatever order for two subscriptions, each reads its own text in order, no gap, no repeat."""
    outbox = Outbox(1 << 20)
    seqs = {"a": 0, "b": 0}
    raw = b""
    for name, is_backed_up in steps:
        outbox.is_backed_up = is_backed_up
        if not is_backed_up:
            raw += outbox.take()
        turn = TURNS["ab".index(name)]
        outbox.put_event(name, event(delta(turn, 1, seqs[name], f"{name}{seqs[name]};")))
        seqs[name] += 1
    raw += outbox.take()
    for name, count in seqs.items():
        turn = TURNS["ab".index(name)]
        bodies = [frame["event"] for frame in frames(raw)]
        mine = [body for body in bodies if isinstance(body, dict) and body["turn"] == turn]
        assert "".join(str(body["text"]) for body in mine) == "".join(f"{name}{seq};" for seq in range(count))
        following = 0
        for body in mine:
            assert body["seq"] == following
            following = int(str(body.get("last_seq", body["seq"]))) + 1


def test_sizes_count_bytes() -> None:
    """A merged text counts as many bytes as it takes on the wire."""
    outbox = Outbox(1 << 20)
    outbox.is_backed_up = True
    record: TurnDelta = delta(TURNS[0], 1, 0, "é")
    outbox.put_event("a", event(record))
    before = outbox.bytes
    outbox.put_event("a", event(delta(TURNS[0], 1, 1, "é" * 100), 1))
    assert outbox.bytes - before >= 200
