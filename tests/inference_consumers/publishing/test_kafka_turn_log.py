"""Conversation logs and the other topics on a real Kafka: the adapter's own promises."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import cast

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from inference_consumers.publishing import kafka_turn_log
from inference_consumers.publishing.kafka_turn_log import KafkaOutlet, KafkaTurnLog
from infra.runtime.kafka import Appender
from infra.runtime.kafka_log import Entry
from schemas import ids, instants, topics
from schemas.errors import KafkaUnavailable
from schemas.records import Record, TurnCompleted, TurnDispatched, TurnReturned, UsageRecorded
from schemas.turns import LogAddress, Source
from tests.inference_consumers.pool import Pool, dispatch_of
from tests.simulation.stepping import Ack, Run
from tests.support.logs import delta
from tests.support.samples import sample

LANE = LogAddress(topics.LANES, 1)


def _log(pool: Pool) -> KafkaTurnLog:
    return KafkaTurnLog(pool.reader, pool.appender)


async def _read(pool: Pool, turn: TurnDispatched, start: int, stop: int | None = None) -> list[tuple[int, Record]]:
    assert turn.turn is not None
    assert turn.conversation is not None
    found = _log(pool).read(turn.log, turn.turn, turn.conversation, start, stop)
    return [each async for each in found]


def _delta(turn: TurnDispatched, seq: int) -> Record:
    assert turn.turn is not None
    return replace(delta(turn.turn, 1, seq), conversation=turn.conversation)


async def test_what_was_sent_is_read_in_order(pool: Pool) -> None:
    """Records come back with their offsets; other conversations, other turns and broken bytes of the lane don't."""
    mine, other = dispatch_of("a", log=LANE), dispatch_of("b", log=LANE)
    log = _log(pool)
    acks = []
    for seq in range(3):
        acks.append(await log.send(LANE, _delta(mine, seq)))
        acks.append(await log.send(LANE, _delta(other, seq)))
    offsets = [await ack for ack in acks]
    assert offsets == sorted(offsets)
    found = await _read(pool, mine, 0)
    assert [offset for offset, _ in found] == offsets[::2]
    assert [getattr(record, "seq", None) for _, record in found] == [0, 1, 2]
    assert len(await _read(pool, mine, 0, offsets[2])) == 1


async def test_a_lane_that_retention_shortened_is_read_from_its_beginning(pool: Pool) -> None:
    """What was deleted behind a memory, or before a place, is nobody's any more: the rest is read."""
    idle, busy = dispatch_of("a", log=LANE), dispatch_of("b", log=LANE)
    log = _log(pool)
    await (await log.send(LANE, _delta(idle, 0)))
    assert await _found(log, idle, 0) == [0]
    for seq in range(4):
        await (await log.send(LANE, _delta(busy, seq)))
    await _delete_before(pool, LANE, 3)
    placed = await (await log.send(LANE, _delta(idle, 1)))
    assert await _found(log, idle, 1) == [placed]
    assert await _found(log, busy, 0) == [3, 4]
    assert await _found(_log(pool), idle, 1) == [placed]


async def test_a_lane_is_read_once_however_long_it_is(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that is new to the process and larger than its memory is not read again for the first who asks."""
    mine = dispatch_of("a", log=LANE)
    monkeypatch.setattr(kafka_turn_log, "_LANE_BYTES", 600)
    log, reads = _log(pool), list[int]()
    for seq in range(8):
        await (await log.send(LANE, _delta(mine, seq)))
    read = pool.reader.read

    def counted(topic: str, partition: int, start: int, stop: int | None = None) -> AsyncIterator[Entry]:
        reads.append(start)
        return read(topic, partition, start, stop)

    monkeypatch.setattr(pool.reader, "read", counted)
    assert await _found(log, mine, 0) == list(range(8))
    assert await _found(log, mine, 7) == [7]
    assert reads == [0]
    assert await _found(log, mine, 0) == list(range(8))
    assert reads == [0, 0]


async def _found(log: KafkaTurnLog, turn: TurnDispatched, start: int) -> list[int]:
    assert turn.turn is not None
    assert turn.conversation is not None
    return [offset async for offset, _ in log.read(turn.log, turn.turn, turn.conversation, start, None)]


async def _delete_before(pool: Pool, log: LogAddress, offset: int) -> None:
    """As retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=pool.settings.bootstrap)
    await admin.start()
    place = TopicPartition(pool.settings.named(log.topic), log.partition)
    await admin.delete_records({place: RecordsToDelete(before_offset=offset)})
    await admin.close()


async def test_a_failed_append_says_so(pool: Pool) -> None:
    """An append to a log that isn't there fails as Kafka's, not as a foreign error."""
    gone = LogAddress("conversation." + "0" * 32, 0)
    with pytest.raises(KafkaUnavailable):
        await (await _log(pool).send(gone, _delta(dispatch_of("a"), 0)))


async def test_the_place_lies_before_the_turn(pool: Pool) -> None:
    """An own topic is read from its beginning, a lane from a while before the turn, a given place as it is."""
    lane = dispatch_of("a", log=LANE)
    await pool.accept(lane)
    assert await _log(pool).place_of(lane) == 0
    late = replace(lane, accepted_at="2099-01-01T00:00:00.000Z")
    assert await _log(pool).place_of(late) == 1
    assert await _log(pool).place_of(replace(lane, place=1)) == 1
    # A later turn: what the lane holds since the turn before is not its own.
    assert await _log(pool).place_of(replace(late, place=0)) == 1
    early = instants.from_ms(instants.to_ms(lane.accepted_at) - 60_000)
    assert await _log(pool).place_of(replace(lane, place=0, accepted_at=early)) == 0
    own = topics.own_topic(ids.conversation_id("a" * 32))
    await pool.admin.create([own])
    assert await _log(pool).place_of(replace(late, log=LogAddress(own.name, 0))) == 0


async def test_facts_are_acknowledged_together(pool: Pool) -> None:
    """When `publish` returns, every record is on its topic."""
    turn = dispatch_of("a")
    records = [
        TurnReturned(
            id=str(number), at=turn.at, tenant="acme", conversation=turn.conversation, turn=turn.turn, dispatch=number,
            source=Source("inference.default", 0, number),
        )
        for number in range(3)
    ]  # fmt: skip
    await KafkaOutlet(pool.appender).publish(*((topics.TURNS, record) for record in records))
    assert await pool.records(TurnReturned, topics.TURNS) == records


def test_the_last_fact_waits_for_the_others() -> None:
    """The turn record is not on its way before its usage is acknowledged: who dies in between leaves neither."""
    acks: dict[str, Ack] = {}

    class Slow:
        async def send(self, topic: str, _record: Record, *, trace: str | None = None) -> Ack:
            return acks.setdefault(topic, Ack())

        async def append(self, topic: str, record: Record, *, trace: str | None = None) -> object:
            return await (await self.send(topic, record))

    facts = ((topics.USAGE, sample(UsageRecorded)), (topics.TURNS, sample(TurnCompleted)))
    Run(KafkaOutlet(cast("Appender", Slow())).publish(*facts)).go()
    assert list(acks) == [topics.USAGE]
    acks[topics.USAGE].set_result(None)
    assert list(acks) == [topics.USAGE, topics.TURNS]
