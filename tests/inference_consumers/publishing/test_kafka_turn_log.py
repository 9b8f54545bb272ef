"""Conversation logs and the other topics on a real Kafka: the adapter's own promises."""

from dataclasses import replace

import pytest

from inference_consumers.publishing.kafka_turn_log import KafkaOutlet, KafkaTurnLog
from schemas import ids, topics
from schemas.errors import KafkaUnavailable
from schemas.records import Record, TurnDispatched, TurnReturned
from schemas.turns import LogAddress, Source
from tests.inference_consumers.pool import Pool, dispatch_of
from tests.support.logs import delta

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
