"""What happens by the clock, on real Kafka: ticks for owned partitions, zombies answered, persistence's place."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from infra.runtime.clock import SYSTEM
from infra.runtime.kafka_log import LogReader
from schemas import topics
from schemas.ids import ConversationId
from schemas.records import ClockTicked, ConversationChanged
from stream_processors.enrichment.changelog import Changelog
from stream_processors.enrichment.facts import Limits, Passed
from stream_processors.enrichment.fencing import Stamp, body, read_stamp, stamped
from stream_processors.enrichment.ticks import Looks, Ticks
from tests.stream_processors.enrichment.test_changelog import MemoryStore
from tests.stream_processors.enrichment.world import World, new_conversation, now
from tests.support.samples import sample


def _gate(*partitions: int) -> Any:
    met: list[tuple[int, ConversationId]] = []
    return SimpleNamespace(
        partitions=partitions, passed={}, met=met, written_under=lambda _partition: 7,
        meet=lambda *each: met.append(each),
    )  # fmt: skip


def _looks(
    world: World, gate: Any, reader: LogReader, changelog: Changelog | None = None, *, listed: Sequence[Any] = ()
) -> Looks:
    changelogs = {} if changelog is None else {topics.GATE_CHANGELOG: changelog}
    return Looks(gate, changelogs, reader, world.kafka, own_topics=listed, clock=SYSTEM, limits=Limits())


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
    looks = _looks(world, _gate(0), reader, changelog)
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
    """How far the store has come on chat.turns and chat.conversations is read from its group's committed offsets."""
    turns, conversations = (
        TopicPartition(world.kafka.named(topic), 1) for topic in (topics.TURNS, topics.CONVERSATIONS)
    )
    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.kafka.bootstrap,
        group_id=world.kafka.named("parley-persistence"),
        enable_auto_commit=False,
    )
    await consumer.start()
    consumer.assign([turns, conversations])
    await consumer.commit({turns: OffsetAndMetadata(5, ""), conversations: OffsetAndMetadata(3, "")})
    await consumer.stop()
    gate = _gate(0, 1)
    await _looks(world, gate, LogReader(world.kafka, "test")).look_at_persistence()
    assert gate.passed == {0: Passed(), 1: Passed(turns=5, conversations=3)}


async def test_an_old_topic_of_the_directory_is_looked_at(world: World) -> None:
    """A conversation that the directory has had with its own topic for the idle time is met; a young one isn't yet."""
    old, young = (replace(sample(ConversationChanged), conversation=new_conversation()) for _ in range(2))
    young = replace(young, created_at=now())
    gate = _gate(0, 1)
    looks = _looks(world, gate, LogReader(world.kafka, "test"), listed=[(1, old), (0, young)])
    await looks.look_at_directory()
    assert gate.met == [(1, old.conversation)]
