"""Turns found wherever they are: in the store, in their log, or only on `chat.requests`; on real Kafka."""

import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace

import pytest

from infra.runtime.clock import SYSTEM
from infra.runtime.kafka import Appender
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.kafka_topics import TopicAdmin
from producers.relay.turn_reader import TurnReader
from schemas import ids, instants, projection, topics
from schemas.errors import CassandraUnavailable
from schemas.fold import TurnFold
from schemas.ids import ConversationId, TurnId
from schemas.records import ConversationChanged, TurnCompleted, TurnRequested
from tests.producers.support import records
from tests.producers.support.asked import requested

LANES = 2


@dataclass
class Rows:
    """A store in memory, or one that is away."""

    rows: list[TurnCompleted] = field(default_factory=list)
    is_away: bool = False

    async def turn(self, turn: TurnId) -> TurnCompleted | None:
        self._ask()
        return next((row for row in self.rows if row.turn == turn), None)

    async def newest(
        self, conversation: ConversationId, limit: int, *, before_n: int | None = None
    ) -> tuple[TurnCompleted, ...]:
        self._ask()
        return tuple(sorted(self.rows, key=lambda row: -row.n))[:limit]

    async def activity(self, tenant: str, user: str) -> Mapping[ConversationId, str]:
        self._ask()
        return {}

    def _ask(self) -> None:
        if self.is_away:
            raise CassandraUnavailable("away")


@dataclass
class World:
    """One conversation on real topics."""

    appender: Appender
    reader: TurnReader
    rows: Rows
    known: ConversationChanged

    def asked(self, text: str = "hi") -> TurnRequested:
        """A turn of the conversation, made now."""
        conversation = self.known.conversation or ConversationId("")
        turn = ids.turn_id(conversation, ids.uuid7_hex(SYSTEM.wall_ms(), SYSTEM.entropy(10)))
        record, at = requested(text=text), instants.from_ms(SYSTEM.wall_ms())
        request = replace(record.request, log=self.reader.address(self.known), accepted_at=at)
        return replace(record, id=f"{turn}.requested", at=at, turn=turn, conversation=conversation, request=request)

    async def answer(self, asked: TurnRequested, n: int, *, is_open: bool = False) -> TurnCompleted | None:
        """The turn's log, and its row if it ends."""
        log, fold = asked.request.log, TurnFold(asked.turn or TurnId(""))
        start = -1
        script = [records.accepted(asked, order=n, n=n), records.started(asked), records.delta(asked, 0, "yes")]
        for record in script if is_open else [*script, records.ended(asked, 1, n=n)]:
            placed = await self.appender.append(log.topic, record, partition=log.partition)
            start = placed.offset if start < 0 else start
            fold.take(record, placed.offset)
        return None if is_open else replace(projection.completed(fold, log), log_start=start)


@pytest.fixture(params=[True, False], ids=["lane", "own topic"])
async def world(request: pytest.FixtureRequest, kafka: str, topic_prefix: str) -> AsyncIterator[World]:
    settings = KafkaSettings(bootstrap=kafka, topic_prefix=topic_prefix, partitions=2, lanes=LANES)
    conversation = ids.conversation_id(uuid.uuid4().hex)
    at = instants.from_ms(SYSTEM.wall_ms())
    known = ConversationChanged(
        id="c", at=at, tenant="acme", conversation=conversation, user="anna", created_at=at, retired=request.param
    )
    admin, appender, reader = TopicAdmin(settings, "test"), Appender(settings, "test"), LogReader(settings, "test")
    await admin.create([topics.TOPICS[topics.LANES], topics.TOPICS[topics.REQUESTS], topics.own_topic(conversation)])
    rows = Rows()
    yield World(appender, TurnReader(rows, reader, SYSTEM, lanes=LANES), rows, known)  # type: ignore[arg-type]
    await appender.stop()
    await reader.stop()
    await admin.delete(await admin.names())
    await admin.stop()


async def test_each_place_is_asked(world: World) -> None:
    """A turn is found from the broker's acknowledgement on, in the place that knows most; another one nowhere."""
    asked = world.asked()
    turn = asked.turn or TurnId("")
    assert await world.reader.find(world.known, turn) is None
    await world.appender.append(topics.REQUESTS, asked)
    found = await world.reader.find(world.known, turn)
    assert found is not None
    assert found.requested == asked
    row = await world.answer(asked, 1)
    found = await world.reader.find(world.known, turn)
    assert found is not None
    assert found.progress is not None
    assert found.progress.text == "yes"
    assert row is not None
    world.rows.rows.append(row)
    found = await world.reader.find(world.known, turn)
    assert found is not None
    assert found.row == row


async def test_the_log_goes_on_behind_the_newest_row(world: World) -> None:
    """Turns that the store doesn't have yet are read from where its newest turn began, in the order of acceptance."""
    first, second, third = world.asked("1"), world.asked("2"), world.asked("3")
    row = await world.answer(first, 1)
    assert row is not None
    world.rows.rows.append(row)
    await world.answer(second, 2)
    await world.answer(third, 3, is_open=True)
    tail = await world.reader.tail(world.known)
    assert list(tail) == [first.turn, second.turn, third.turn]
    assert [progress.ended is None for progress in tail.values()] == [False, False, True]


async def test_a_stored_turn_is_replayed_from_its_log(world: World) -> None:
    """A row's place in the log gives its deltas back; without one the log is read from its beginning."""
    row = await world.answer(world.asked(), 1)
    assert row is not None
    for each in (row, replace(row, log_start=None)):
        progress = await world.reader.replayed(each)
        assert progress is not None
        assert [piece.text for piece in progress.pieces] == ["yes"]
    gone = replace(row, log=topics.address(ids.conversation_id("0" * 32), retired=False, stored=True, lanes=LANES))
    assert await world.reader.replayed(gone) is None


async def test_a_store_that_is_away_hides_nothing_new(world: World) -> None:
    """Without the store the log still tells; what the log doesn't know is not said to be unknown."""
    asked = world.asked()
    await world.answer(asked, 1)
    world.rows.is_away = True
    found = await world.reader.find(world.known, asked.turn or TurnId(""))
    assert found is not None
    assert found.progress is not None
    with pytest.raises(CassandraUnavailable):
        await world.reader.find(world.known, world.asked().turn or TurnId(""))
    assert await world.reader.activity("acme", "anna") == {}
