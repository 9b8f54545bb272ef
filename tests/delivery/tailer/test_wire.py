"""Fetch by hand says what aiokafka's own schema says, byte for byte, and reads what it writes."""

from io import BytesIO

import pytest
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from hypothesis import given
from hypothesis import strategies as st

from delivery.tailer.session import Ask, Wanted
from delivery.tailer.wire import Answer, Fetch

KEYS = st.lists(st.tuples(st.sampled_from(["a", "topic", "ü"]), st.integers(0, 5)), unique=True, max_size=8)


@given(KEYS, KEYS, st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_requests_are_those_of_the_schema(
    wanted: list[tuple[str, int]], forgotten: list[tuple[str, int]], session_id: int, epoch: int
) -> None:
    """Any request equals the one that aiokafka's description of the protocol gives."""
    ask = Ask(session_id, epoch, [Wanted(key, 77, 1024) for key in wanted], forgotten)
    topics: dict[str, list[tuple[int, int, int, int, int]]] = {}
    for topic, partition in sorted(wanted):
        topics.setdefault(topic, []).append((partition, -1, 77, -1, 1024))
    gone: dict[str, list[int]] = {}
    for topic, partition in sorted(forgotten):
        gone.setdefault(topic, []).append(partition)
    rows = (list(topics.items()), list(gone.items()))
    theirs = FetchRequest_v11(-1, 500, 1, 4096, 0, session_id, epoch, *rows, "")
    assert Fetch(ask, 500, 4096).encode() == theirs.encode()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 100), st.integers(0, 2**40), st.binary()), max_size=5))
def test_answers_are_read_as_the_schema_reads_them(partitions: list[tuple[int, int, int, bytes]]) -> None:
    """Any answer of the schema is read back, wherever in the buffer it begins, aborted transactions skipped."""
    rows = [(number, error, end, end, 0, [(1, 2)], -1, raw) for number, error, end, raw in partitions]
    encoded = FetchResponse_v11(5, 71, 42, [("one", rows), ("two", rows)]).encode()
    buffer = BytesIO(b"head" + encoded)
    buffer.seek(4)
    answer = Answer.decode(buffer)
    assert (answer.error, answer.session_id) == (71, 42)
    expected = [(topic, *row) for topic in ("one", "two") for row in partitions]
    assert [(row.topic, row.partition, row.error, row.end, row.raw) for row in answer.rows] == expected


def test_an_old_broker_is_named() -> None:
    """A broker that doesn't speak version 11 is refused in words."""
    with pytest.raises(IncompatibleBrokerVersion):
        Fetch(Ask(0, 0, [], []), 1, 1).prepare({1: (0, 10)})
