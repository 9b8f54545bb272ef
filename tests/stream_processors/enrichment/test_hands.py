"""How far the gate reads a log back for its own ends."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from infra.runtime.clock import SYSTEM
from infra.runtime.kafka import Placed
from infra.runtime.kafka_log import Entry
from schemas import codec, instants, topics
from schemas.errors import KafkaUnavailable
from schemas.ids import ConversationId
from schemas.records import Record, TurnAllowed, TurnCompleted, TurnDispatched, TurnEnded
from schemas.turns import LogAddress, Reason
from stream_processors.enrichment.composing import Scene
from stream_processors.enrichment.effects import DeleteLog, Dispatch, EndTurn
from stream_processors.enrichment.hands import Decided, Hands
from stream_processors.enrichment.state import OpenTurn, State, Status
from tests.stream_processors.enrichment.still_world import NOBODY
from tests.stream_processors.enrichment.world import allowed, new_conversation
from tests.support.samples import sample


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

    async def dispatched(self, here: Scene, partition: int, turn: OpenTurn, request: TurnAllowed) -> TurnDispatched:
        sent: TurnDispatched = sample(TurnDispatched)
        return replace(sent, pool="default")

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
        appender=log_as, reader=log_as, admin=log_as, clock=SYSTEM, words=words, own_topics=NOBODY,
        load=lambda *_wanted: None, on_ended=ended.append,
    )  # fmt: skip
    lost = await hands.perform(
        Decided(partition=0, conversation=record.conversation, state=state, effects=(EndTurn(turn),))
    )
    assert lost == []
    assert [each.turn for each in ended] == [record.turn]  # it is counted
    return log.others


class _Away(MemoryLog):
    """A log that is away for some appends, and notes where the others went."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.failures = failures
        self.placed: list[tuple[str, int | None]] = []

    async def send(
        self, topic: str, record: Record, *, partition: int | None = None, trace: str | None = None
    ) -> asyncio.Future[Placed]:
        if self.failures:
            self.failures -= 1
            raise KafkaUnavailable("as asked")
        self.placed.append((topic, partition))
        return await super().send(topic, record, partition=partition, trace=trace)


@pytest.mark.parametrize(("avoid", "partition"), [(None, None), ("w1", 5)])
async def test_a_failed_turn_is_placed_elsewhere(avoid: str | None, partition: int | None) -> None:
    """A dispatch that avoids a worker goes to the partition that the fleet names; any other by its key."""
    log = _Away()
    await _dispatch(log, avoid)
    assert log.placed == [("inference.default", partition)]


async def test_an_append_that_fails_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses double, each is drawn between half and the whole: gates that lost a broker don't return in step."""
    pauses: list[float] = []

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)

    monkeypatch.setattr("stream_processors.enrichment.hands.asyncio.sleep", sleep)
    log = _Away(failures=3)
    await _dispatch(log, None)
    assert log.placed == [("inference.default", None)]
    assert pauses == [0.1 * 0.75, 0.2 * 0.75, 0.4 * 0.75]


async def _dispatch(log: MemoryLog, avoid: str | None) -> None:
    record = allowed(new_conversation(), "hi")
    assert record.turn is not None
    assert record.conversation is not None
    turn = OpenTurn(turn=record.turn, status=Status.ACTIVE, order=0, deadline_ms=0, dispatch=2, pool="default")
    state = State(conversation=record.conversation, log=LogAddress(topics.LANES, 0), turns=(turn,))
    log_as: Any = log
    words: Any = Asked(record)
    hands = Hands(
        appender=log_as, reader=log_as, admin=log_as, clock=SYSTEM, words=words, own_topics=NOBODY,
        load=lambda *_wanted: None, elsewhere=lambda _turn, worker: 5 if worker == "w1" else None, jitter=lambda: 0.5,
    )  # fmt: skip
    effects = (Dispatch(turn, avoid),)
    await hands.perform(Decided(partition=0, conversation=record.conversation, state=state, effects=effects))


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


class _Kept:
    """Own topics that the broker keeps."""

    async def delete(self, conversation: ConversationId) -> None:
        raise KafkaUnavailable("topics may not be deleted here")


async def test_a_topic_that_cannot_be_deleted_holds_nothing_up() -> None:
    """The broker refuses: the gate isn't told that it is gone, and goes on; the next tick tries again."""
    conversation = new_conversation()
    state = State(conversation=conversation, log=LogAddress(topics.LANES, 0))
    log: Any = MemoryLog()
    words: Any = None
    kept: Any = _Kept()
    hands = Hands(
        appender=log, reader=log, admin=log, clock=SYSTEM, words=words, own_topics=kept,
        load=lambda *_wanted: None,
    )  # fmt: skip
    decided = Decided(partition=0, conversation=conversation, state=state, effects=(DeleteLog(),))
    async with asyncio.timeout(5):
        assert await hands.perform(decided) == []
