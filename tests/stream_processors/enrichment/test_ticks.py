"""What happens by the clock, on real Kafka: ticks for owned partitions, zombies answered, persistence's place."""

import asyncio
from types import SimpleNamespace
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from infra.runtime.clock import SYSTEM
from infra.runtime.kafka_log import LogReader
from schemas import topics
from schemas.records import ClockTicked
from stream_processors.enrichment.changelog import Changelog
from stream_processors.enrichment.fencing import Stamp, body, read_stamp, stamped
from stream_processors.enrichment.ticks import Looks, Ticks
from tests.stream_processors.enrichment.test_changelog import MemoryStore
from tests.stream_processors.enrichment.world import World


def _gate(*partitions: int) -> Any:
    return SimpleNamespace(partitions=partitions, persisted={}, written_under=lambda _partition: 7)


async def test_each_owned_partition_gets_its_tick(world: World) -> None:
    """Time comes as a record on the owned partitions of chat.control, and on no other."""
    ticking = asyncio.create_task(Ticks(_gate(1), world.appender, SYSTEM).run())
    seen = await world.until(topics.CONTROL, lambda seen: len(seen.of(ClockTicked)) >= 2)
    ticking.cancel()
    assert {partition for partition, _, _ in seen.records} == {1}


async def test_a_zombies_record_is_answered_while_we_own_the_partition(world: World) -> None:
    """What somebody else wrote into our changelog is found by its end alone, and written over by our value."""

    async def send(partition: int, key: bytes, value: bytes | None, generation: int) -> Any:
        return await world.appender.send_bytes(topics.GATE_CHANGELOG, value, key=key, partition=partition)

    changelog = Changelog("c", send, MemoryStore(), lambda _error: None)
    changelog.opened(0, 0, 7)
    await changelog.write(0, b"k", b"good", generation=7)
    await (await send(0, b"k", stamped(Stamp(6, 99, 0), b"bad"), 0))
    reader = LogReader(world.kafka, "test")
    looks = Looks(_gate(0), {topics.GATE_CHANGELOG: changelog}, reader, world.kafka)
    await looks.look()
    async with asyncio.timeout(10):
        while (await reader.bounds(topics.GATE_CHANGELOG, 0))[1] < 3:  # noqa: ASYNC110 - a log tells nobody
            await asyncio.sleep(0.02)
    entries = await reader.read_all(topics.GATE_CHANGELOG, 0, 0)
    await looks.look()
    assert (await reader.bounds(topics.GATE_CHANGELOG, 0))[1] == 3
    await reader.stop()
    newest = entries[-1].value or b""
    assert (body(newest), read_stamp(newest).generation) == (b"good", 7)


async def test_persistences_place_is_known(world: World) -> None:
    """How far the store has come on chat.turns is read from its group's committed offsets."""
    place = TopicPartition(world.kafka.named(topics.TURNS), 1)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.kafka.bootstrap,
        group_id=world.kafka.named("parley-persistence"),
        enable_auto_commit=False,
    )
    await consumer.start()
    consumer.assign([place])
    await consumer.commit({place: OffsetAndMetadata(5, "")})
    await consumer.stop()
    gate = _gate(0, 1)
    await Looks(gate, {}, LogReader(world.kafka, "test"), world.kafka).look_at_persistence()
    assert gate.persisted == {1: 5}
