"""Where the past is begun, on ports in memory: real logs and rows are read by tests/delivery/test_streams.py."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from delivery.history.past import Past, Whose
from delivery.hub.lane_index import LaneIndex
from infra.runtime.kafka_client import RangeGone
from schemas import ids, topics
from schemas.errors import CassandraUnavailable, KafkaUnavailable
from schemas.ids import ConversationId, TurnId
from schemas.records import TurnCompleted
from schemas.turns import LogAddress
from tests.delivery.hub.lanes import BOUNDS
from tests.delivery.protocol.readings import Entry, entries
from tests.support import samples
from tests.support.logs import TURNS, accepted, delta, ended, started
from tests.support.samples import CONVERSATION

OWN = topics.address(CONVERSATION, retired=False, stored=True, lanes=1)
LANE = topics.address(CONVERSATION, retired=True, stored=True, lanes=1)
NOW_MS = 2_000_000_000_000
SECOND_MS = 1000


class Logs:
    """One log in memory; record `n` was written at second `n`."""

    def __init__(self, held: list[Entry], beginning: int = 0) -> None:
        self.held = held
        self.first = beginning
        self.asked: list[tuple[int, int | None]] = []

    async def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> AsyncIterator[Entry]:
        """`[start, stop)`."""
        self.asked.append((start, stop))
        if start < self.first:
            raise RangeGone(f"{topic}/{partition} begins at {self.first}")
        for entry in self.held:
            if start <= entry.offset < (stop or 1 << 40):
                yield entry

    async def beginning(self, topic: str, partition: int) -> int:
        """Of the log."""
        return self.first

    async def end(self, topic: str, partition: int) -> int:
        """Behind the last record."""
        return self.first + len(self.held)

    async def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        """By the rule above."""
        return max(0, at_ms // SECOND_MS)


class Rows:
    """Rows in memory; None is a store that is away."""

    def __init__(self, rows: tuple[TurnCompleted, ...] | None = ()) -> None:
        self.rows = rows

    async def turn(self, turn: TurnId) -> TurnCompleted | None:
        """By its id."""
        return next((row for row in await self.newest(CONVERSATION, 1) if row.turn == turn), None)

    async def newest(
        self, conversation: ConversationId, limit: int, *, before_n: int | None = None
    ) -> tuple[TurnCompleted, ...]:
        """Newest first."""
        if self.rows is None:
            raise CassandraUnavailable("away")
        return self.rows


def past(logs: Logs, rows: Rows, told: list[bool] | None = None) -> Past:
    """A past over these ports."""
    return Past(
        logs, rows, wall_ms=lambda: NOW_MS, lane_lookback_ms=3600_000, keyed_lookback_ms=600_000,
        on_store=(told if told is not None else []).append,
    )  # fmt: skip


def whose(log: LogAddress, end: int, index: LaneIndex | None = None, created_at_ms: int | None = None) -> Whose:
    """What is to be read."""
    return Whose(conversation=CONVERSATION, log=log, end=end, created_at_ms=created_at_ms, index=index)


def talk() -> list[Entry]:
    """One turn that has ended and one that is open."""
    one, two = TURNS[:2]
    return entries(
        [
            accepted(one, 1),
            started(one, 1),
            delta(one, 1, 0, "one"),
            ended(one, 1, 1),
            accepted(two, 2),
            started(two, 1),
        ]
    )


async def test_the_log_alone_when_the_store_is_away() -> None:
    """With the store away the log still tells all that it holds, and readiness hears of the store."""
    told: list[bool] = []
    found = await past(Logs(talk()), Rows(None), told).snapshot(whose(OWN, 6))
    assert [each.text for each in found.history.messages][1:] == ["one"]
    assert [each.turn for each in found.history.open_turns] == [TURNS[1]]
    assert told == [False]
    await past(Logs(talk()), Rows(), told).snapshot(whose(OWN, 6))
    assert told == [False, True]


async def test_a_log_whose_beginning_is_gone_is_read_from_where_it_begins() -> None:
    """Retention that has passed the place costs what it took, not the answer."""
    held = [Entry(entry.offset + 10, entry.key, entry.value) for entry in talk()]
    found = await past(Logs(held, beginning=10), Rows()).snapshot(whose(OWN, 16))
    assert len(found.history.messages) == 2


async def test_an_unknown_log_with_rows_is_no_empty_one() -> None:
    """Rows of a log that the broker seems not to know: an answer now would show old events as new ones."""
    row: TurnCompleted = replace(samples.sample(TurnCompleted), log=OWN)
    with pytest.raises(KafkaUnavailable):
        await past(Logs([]), Rows((row,))).snapshot(whose(OWN, 0))


async def test_a_lane_is_read_from_the_newest_row_or_time() -> None:
    """In a lane the fold begins at the latest of row, creation and look-back, and not at all where nothing is there."""
    end = NOW_MS // SECOND_MS
    row: TurnCompleted = replace(samples.sample(TurnCompleted), log=LANE, log_start=end - 50, n=1)
    logs = Logs([])
    await past(logs, Rows((row,))).snapshot(whose(LANE, end))
    await past(logs, Rows()).snapshot(whose(LANE, end, created_at_ms=NOW_MS - 10_000))
    await past(logs, Rows()).snapshot(whose(LANE, end, created_at_ms=1))
    assert logs.asked == [(end - 50, end), (end - 70, end), (end - 3600, end)]
    silent = LaneIndex(end - 5000, BOUNDS, 0.0)
    silent.forget(end, 0.0)
    await past(logs, Rows()).snapshot(whose(LANE, end, silent, created_at_ms=1))
    assert len(logs.asked) == 3


async def test_a_lane_is_read_by_its_index() -> None:
    """Of what the index knows only the conversation's stretches are read, and what it holds is read nowhere."""
    index = LaneIndex(100, replace(BOUNDS, recent_bytes=10_000), 0.0)
    mine = talk()
    for place, entry in enumerate(mine[:3]):
        index.saw(CONVERSATION.encode(), 500 + place, entry.value or b"")
    for offset in range(503, 900):
        index.saw(b"conv_other", offset, bytes(200))
    for place, entry in enumerate(mine[3:]):
        index.saw(CONVERSATION.encode(), 900 + place, entry.value or b"")
    index.forget(903, 0.0)
    held = [Entry(500 + place, entry.key, entry.value) for place, entry in enumerate(mine[:3])]
    logs = Logs(held)
    row: TurnCompleted = replace(samples.sample(TurnCompleted), log=LANE, log_start=150, n=1)
    reader = past(logs, Rows((row,)))
    assert [each.offset async for each in reader.read(whose(LANE, 903, index), 150)] == [500, 501, 502, 900, 901, 902]
    assert [each.offset async for each in reader.read(whose(LANE, 902, index), 502)] == [502, 900, 901]
    assert logs.asked == [(500, 503), (502, 503)]
    logs.asked.clear()
    await reader.snapshot(whose(LANE, 903, index))
    assert logs.asked == [(500, 503)]  # the row's place, which the index knows; no look-back was asked for
    assert [each.offset async for each in reader.read(whose(LANE, 502, index), 40)] == [500, 501]
    assert logs.asked[1:] == [(40, 100), (500, 502)]


async def test_what_lies_ahead_of_the_tail_is_read() -> None:
    """A conversation that the index knows nothing of is read from the lane where the tail has not got to yet."""
    mine = talk()
    logs = Logs([Entry(101 + place, entry.key, entry.value) for place, entry in enumerate(mine)])
    reader = past(logs, Rows())
    ahead = whose(LANE, 101 + len(mine), LaneIndex(101, BOUNDS, 0.0))
    assert [each.offset async for each in reader.read(ahead, 103)] == list(range(103, 101 + len(mine)))


async def test_a_turn_begins_by_its_id_or_its_row() -> None:
    """A turn's own time tells where it begins; a keyed one's row does, in a lane the look-back."""
    timed = ids.turn_id(CONVERSATION, ids.uuid7_hex(1_000_000, bytes(10)))
    keyed = ids.turn_id(CONVERSATION, ids.keyed_hexes("acme", "k")[0])
    row: TurnCompleted = replace(samples.sample(TurnCompleted), turn=keyed, log=OWN, log_start=77)
    reader = past(Logs([]), Rows((row,)))
    assert await reader.turn_start(whose(OWN, 100), keyed) == 0  # short: read whole
    assert await reader.turn_start(whose(OWN, 5000), timed) == 940
    assert await reader.turn_start(whose(OWN, 900), timed) == 899  # closed before it was made: that is read
    assert await reader.turn_start(whose(OWN, 5000), keyed) == 77
    assert await reader.turn_start(whose(LANE, 5000), timed) == 940
    assert await reader.turn_start(whose(LANE, 5000), keyed) == NOW_MS // SECOND_MS - 660


async def test_other_conversations_and_broken_records_are_left_out() -> None:
    """In a lane only the conversation's own records are read, and one that is none stops nothing."""
    [one, two, *_] = talk()
    held = [
        Entry(0, b"other", one.value),
        Entry(1, one.key, b"{"),
        Entry(2, one.key, None),
        Entry(3, one.key, one.value),
    ]
    reader = past(Logs(held), Rows())
    assert [each.offset async for each in reader.replay(whose(LANE, 4), 0)] == [3]
    assert [each.offset async for each in reader.read(whose(LANE, 4), 4)] == []
    assert two.offset == 1


async def test_what_is_kept_can_be_replayed() -> None:
    """From the beginning up to the end itself a place is kept; before and behind it is not."""
    reader = past(Logs(talk(), beginning=3), Rows())
    assert [await reader.is_kept(whose(OWN, 9), start) for start in (2, 3, 9, 10)] == [False, True, True, False]


class SlowLogs(Logs):
    """Counts how many are read at once."""

    now = most = 0

    async def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> AsyncIterator[Entry]:
        """Each record takes a turn of the loop."""
        self.now += 1
        self.most = max(self.most, self.now)
        async for entry in super().read(topic, partition, start, stop):
            await asyncio.sleep(0)
            yield entry
        self.now -= 1


async def test_a_crowd_of_readers_reads_a_few_lanes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come at once, everybody's records aren't in memory for all of them; each gets its history."""
    start = NOW_MS // SECOND_MS - 10
    logs = SlowLogs([Entry(start + entry.offset, entry.key, entry.value) for entry in talk()])
    crowded = past(logs, Rows())
    asked = whose(LANE, start + 6, LaneIndex(start + 6, BOUNDS, 0.0), created_at_ms=NOW_MS)
    found = await asyncio.gather(*(crowded.snapshot(asked) for _ in range(200)))
    assert 1 < logs.most <= 32
    assert all([each.turn for each in one.history.open_turns] == [TURNS[1]] for one in found)

    for _ in range(32):
        await crowded._lane_reads.acquire()
    monkeypatch.setattr("delivery.history.past._WAIT_S", 0.0)
    with pytest.raises(KafkaUnavailable, match="too many"):
        await crowded.snapshot(asked)
    own = await crowded.snapshot(whose(OWN, start + 6))
    assert [each.turn for each in own.history.open_turns] == [TURNS[1]]
