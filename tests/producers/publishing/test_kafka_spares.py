"""The shared spares on real Kafka: each is handed to one member of the group, whatever happens to the group."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from infra.runtime.clock import SYSTEM
from infra.runtime.kafka import Appender
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.kafka_topics import TopicAdmin
from producers.publishing.kafka_spares import MAKERS_PARTITION, KafkaSpares
from schemas import ids, topics
from schemas.errors import KafkaUnavailable
from schemas.ids import ConversationId
from tests.producers.support.spare_gateway import settings_of
from tests.support.waiting import until

# A join and a rebalance, on a busy machine.
JOINED_S = 30.0


@pytest.fixture
async def settings(kafka: str, topic_prefix: str) -> AsyncIterator[KafkaSettings]:
    made = settings_of(kafka, topic_prefix)
    admin = TopicAdmin(made, "test")
    await admin.create([topics.TOPICS[topics.SPARES]])
    yield made
    await admin.delete([topics.SPARES])
    await admin.stop()


@pytest.fixture
async def appender(settings: KafkaSettings) -> AsyncIterator[Appender]:
    made = Appender(settings, "test")
    yield made
    await made.stop()


def _named(count: int) -> list[ConversationId]:
    return [ids.conversation_id(ids.uuid7_hex(SYSTEM.wall_ms(), os.urandom(10))) for _ in range(count)]


async def _taken(spares: KafkaSpares, most: int = 100) -> list[ConversationId]:
    """The next that there are."""

    async def ask() -> list[ConversationId]:
        return list(await spares.take(most))

    return await until(ask, limit_s=JOINED_S)


async def test_taking_is_committing(settings: KafkaSettings, appender: Appender) -> None:
    """No more are taken than were asked for; what was taken is gone for a successor, the rest is still counted."""
    first, second = KafkaSpares(settings, appender, SYSTEM), KafkaSpares(settings, appender, SYSTEM)
    with pytest.raises(KafkaUnavailable, match="not joined"):
        await first.untaken()
    named = _named(6)
    await first.offer(dict.fromkeys(named, 1))
    await first.offer({})
    assert await _taken(first, 2) == named[:2]
    assert first.is_makers
    assert await first.untaken() == {0: 0, 1: 4, 2: 0, 3: 0}
    await first.stop()
    await first.stop()
    assert await _taken(second) == named[2:]
    assert sum((await second.untaken()).values()) == 0
    await second.stop()


async def test_no_spare_is_handed_out_twice_while_members_come_and_go(
    settings: KafkaSettings, appender: Appender
) -> None:
    """Three members join and leave in turn while they take: every spare comes to exactly one of them."""
    named = _named(400)
    taken: list[ConversationId] = []

    async def member(stay: int) -> None:
        """Take until all together have that many more, then leave in good order."""
        spares = KafkaSpares(settings, appender, SYSTEM)
        enough = min(len(named), len(taken) + stay)
        while len(taken) < enough:
            taken.extend(await spares.take(3))
        await spares.stop()

    async def offer() -> None:
        for first in range(0, len(named), 20):
            await appender_side.offer(dict.fromkeys(named[first : first + 20], None))

    appender_side = KafkaSpares(settings, appender, SYSTEM)
    async with asyncio.timeout(4 * JOINED_S), asyncio.TaskGroup() as group:
        group.create_task(offer())
        for stay in (60, 150, 400):
            group.create_task(member(stay))
        await until(lambda: _reached(taken, 80), limit_s=JOINED_S)
        group.create_task(member(400))
    assert len(taken) == len(set(taken))
    assert set(taken) == set(named)


async def _reached(taken: list[ConversationId], count: int) -> bool:
    return len(taken) >= count


async def test_a_late_commit_takes_nothing(settings: KafkaSettings, appender: Appender) -> None:
    """What was read before a rebalance and is committed behind it is another's: the group refuses."""
    first, second = KafkaSpares(settings, appender, SYSTEM), KafkaSpares(settings, appender, SYSTEM)
    await first.offer(dict.fromkeys(_named(4), MAKERS_PARTITION))
    await _taken(first, 1)
    held, consumer = first._holding, first._consumer
    assert held is not None

    async def is_shared() -> bool:
        await asyncio.gather(first.take(1), second.take(1))
        return second._holding is not None and first._holding not in (held, None)

    await until(is_shared, limit_s=JOINED_S)
    assert await first._commit(consumer, held, {MAKERS_PARTITION: 4}) is False
    assert {first.is_makers, second.is_makers} == {True, False}
    await first.stop()
    await second.stop()


async def test_a_member_that_was_given_up_joins_again(settings: KafkaSettings, appender: Appender) -> None:
    """When aiokafka has ended its membership for good, the next take is a new member's."""
    spares = KafkaSpares(settings, appender, SYSTEM)
    named = _named(2)
    await spares.offer({named[0]: 0})
    assert await _taken(spares) == named[:1]
    broken = spares._consumer
    assert broken is not None
    broken._coordinator._coordination_task.cancel()
    await asyncio.wait({broken._coordinator._coordination_task})
    await spares.offer({named[1]: 0})
    assert await _taken(spares) == named[1:]
    assert spares._consumer is not broken
    await spares.stop()


async def test_what_is_no_spare_is_passed_over(settings: KafkaSettings, appender: Appender) -> None:
    """Bytes that are no record hide nothing behind them."""
    spares = KafkaSpares(settings, appender, SYSTEM)
    [named] = _named(1)
    await (await appender.send_bytes(topics.SPARES, b"{", key=b"k", partition=2))
    await spares.offer({named: 2})
    assert await _taken(spares) == [named]
    await spares.stop()


async def test_kafka_away(settings: KafkaSettings, appender: Appender, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a take nor an offer waits for brokers for ever, and leaving needs none."""
    nowhere = settings_of("127.0.0.1:1", settings.topic_prefix)
    spares = KafkaSpares(nowhere, appender, SYSTEM)
    with pytest.raises(KafkaUnavailable):
        await spares.take(1)

    async def silent(*_given: object, **_named: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(appender, "send", silent)
    monkeypatch.setattr("producers.publishing.kafka_spares._ACK_S", 0.01)
    with pytest.raises(KafkaUnavailable, match="took nothing"):
        await spares.offer(dict.fromkeys(_named(1), None))
    await spares.stop()
