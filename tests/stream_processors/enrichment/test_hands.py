"""How far the gate reads a log back for its own ends."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from infra.runtime.clock import SYSTEM
from infra.runtime.kafka import Placed
from infra.runtime.kafka_log import Entry
from schemas import codec, instants, topics
from schemas.records import Record, TurnAllowed, TurnCompleted, TurnEnded
from schemas.turns import LogAddress, Reason
from stream_processors.enrichment.effects import EndTurn
from stream_processors.enrichment.hands import Decided, Hands
from stream_processors.enrichment.state import OpenTurn, State, Status
from tests.stream_processors.enrichment.world import allowed, new_conversation


class MemoryLog:
    """One lane of records with their times; appends are stamped by the gate's clock, `behind_ms` late."""

    def __init__(self, behind_ms: int = 0) -> None:
        self.entries: list[Entry] = []
        self.others: list[Record] = []
        self.behind_ms = behind_ms
        self.starts: list[int] = []

    def put(self, at_ms: int, key: bytes, value: bytes) -> None:
        self.entries.append(Entry(len(self.entries), at_ms, key, value))

    async def send(
        self, topic: str, record: Record, *, partition: int | None = None, trace: str | None = None
    ) -> asyncio.Future[Placed]:
        future: asyncio.Future[Placed] = asyncio.get_running_loop().create_future()
        future.set_result(Placed(topic, partition or 0, len(self.entries)))
        if topic == topics.LANES:
            key = str(record.conversation).encode()
            self.put(SYSTEM.wall_ms() - self.behind_ms, key, codec.encode(record))
        else:
            self.others.append(record)
        return future

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, len(self.entries)

    async def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        return next((entry.offset for entry in self.entries if entry.at_ms >= at_ms), len(self.entries))

    async def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> AsyncIterator[Entry]:
        self.starts.append(start)
        for entry in self.entries[start:stop]:
            yield entry


class Asked:
    """The words of one turn."""

    def __init__(self, record: TurnAllowed) -> None:
        self._record = record

    async def request(self, partition: int, turn: OpenTurn) -> TurnAllowed:
        return self._record


async def _end(log: MemoryLog, place: int | None) -> list[Record]:
    record = allowed(new_conversation(), "hi")
    assert record.turn is not None
    assert record.conversation is not None
    turn = OpenTurn(
        turn=record.turn, status=Status.ENDING, order=0, deadline_ms=0, n=1, parent=None, place=place,
        reason=Reason.CANCELLED,
    )  # fmt: skip
    state = State(conversation=record.conversation, log=LogAddress(topics.LANES, 0), turns=(turn,))
    now_ms = instants.to_ms(record.request.accepted_at)
    for number in range(60 - log.behind_ms // 1_000):  # a minute of everybody's records
        log.put(now_ms - 60_000 + 1_000 * number, b"other", b"{}")
    log_as: Any = log
    words: Any = Asked(record)
    ended: list[TurnEnded] = []
    hands = Hands(
        appender=log_as, reader=log_as, admin=log_as, clock=SYSTEM, words=words, load=lambda *_wanted: None,
        on_ended=ended.append,
    )  # fmt: skip
    lost = await hands.perform(
        Decided(partition=0, conversation=record.conversation, state=state, effects=(EndTurn(turn),))
    )
    assert lost == []
    assert [each.turn for each in ended] == [record.turn]  # it is counted
    return log.others


@pytest.mark.parametrize(("place", "start"), [(None, 55), (20, 55), (58, 58)])
async def test_an_end_in_a_lane_is_read_back_from_a_moment_ago(place: int | None, start: int) -> None:
    """The gate reads the seconds before the request, not the minute, and not before the turn's place."""
    log = MemoryLog()
    [completed] = await _end(log, place)
    assert isinstance(completed, TurnCompleted)
    assert log.starts == [start]


async def test_a_clock_that_lags_costs_a_wider_read() -> None:
    """An end that bears a time before the request, by a clock far behind all others', is found too."""
    log = MemoryLog(behind_ms=20_000)
    [completed] = await _end(log, None)
    assert isinstance(completed, TurnCompleted)
    assert log.starts == [41, 0]
