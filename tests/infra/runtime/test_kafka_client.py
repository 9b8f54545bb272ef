"""The client that meets thousands of topics: metadata by need, nothing created by asking, foreign errors as ours."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import errors as kafka_errors

from infra.runtime.kafka import KafkaSettings
from infra.runtime.kafka_client import (
    REMEMBERED_TOPICS,
    LeanClient,
    RangeGone,
    RecordTooLarge,
    TopicUnknown,
    ours,
    translated,
)
from infra.runtime.kafka_log import connected
from infra.runtime.kafka_topics import TopicAdmin
from schemas import ids, topics
from schemas.errors import CassandraUnavailable, KafkaUnavailable


@pytest.fixture
async def client(kafka_settings: KafkaSettings) -> AsyncIterator[LeanClient]:
    made = await connected(kafka_settings, "test")
    yield made
    await made.close()


async def test_only_what_is_used_is_asked_for(client: LeanClient, kafka_settings: KafkaSettings) -> None:
    """A look-up brings one topic's metadata; a refresh those in use, whatever else the cluster holds."""
    name = kafka_settings.named(topics.REQUESTS)
    assert await client.leader(name, 0) is not None
    assert await client.partitions(name) == (0, 1, 2, 3)
    assert client.cluster.topics() == {name}
    await client.force_metadata_update()
    assert client.cluster.topics() == {name}


async def test_asking_creates_nothing(client: LeanClient, admin: TopicAdmin, kafka_settings: KafkaSettings) -> None:
    """A question about a topic that was deleted doesn't bring it back, even where the broker would."""
    own = topics.own_topic(ids.conversation_id("c" * 32)).name
    with pytest.raises(TopicUnknown):
        await client.partitions(kafka_settings.named(own), patience_s=0.1)
    assert own not in await admin.names()


async def test_a_deleted_topic_is_forgotten(
    client: LeanClient, admin: TopicAdmin, kafka_settings: KafkaSettings
) -> None:
    """A topic that is gone falls out of what refreshes ask for."""
    own = topics.own_topic(ids.conversation_id("d" * 32))
    name = kafka_settings.named(own.name)
    await admin.create([own])
    assert await client.leader(name, 0) is not None
    await admin.delete([own.name])
    async with asyncio.timeout(20):
        while name in client.cluster.topics():
            await client.force_metadata_update()
    assert name not in client._recent


async def test_memory_is_bounded(client: LeanClient, admin: TopicAdmin, kafka_settings: KafkaSettings) -> None:
    """A client that meets more topics than it remembers forgets the one not used for longest, and finds it again."""
    own = [topics.own_topic(ids.conversation_id(f"{number:032x}")) for number in range(REMEMBERED_TOPICS + 10)]
    await admin.create(own)
    for each in own:
        assert await client.leader(kafka_settings.named(each.name), 0) is not None
    assert len(client.cluster.topics()) <= REMEMBERED_TOPICS
    assert await client.leader(kafka_settings.named(own[0].name), 0) is not None


async def test_questions_at_the_same_time_are_one(
    client: LeanClient, kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred callers that need the same topic at once cost one request."""
    asked: list[list[str] | None] = []
    ask = client.metadata_of

    async def counted(names: list[str] | None) -> object:
        asked.append(names)
        return await ask(names)

    monkeypatch.setattr(client, "metadata_of", counted)
    name = kafka_settings.named(topics.REQUESTS)
    await asyncio.gather(*(client.leader(name, 0) for _ in range(100)))
    assert asked == [[name]]


@pytest.mark.parametrize(
    ("foreign", "wanted"),
    [
        (kafka_errors.UnknownTopicOrPartitionError(), TopicUnknown),
        (kafka_errors.OffsetOutOfRangeError(), RangeGone),
        (kafka_errors.MessageSizeTooLargeError(), RecordTooLarge),
        (kafka_errors.RequestTimedOutError(), KafkaUnavailable),
        (kafka_errors.KafkaConnectionError("x"), KafkaUnavailable),
        (ConnectionResetError(), KafkaUnavailable),
        (TimeoutError(), KafkaUnavailable),
    ],
)
def test_foreign_errors_become_ours(foreign: Exception, wanted: type[Exception]) -> None:
    """Each error of the client library is one of ours, says what was being done, and keeps its cause."""
    with pytest.raises(wanted, match=r"append to chat\.turns") as error, translated("append to chat.turns"):
        raise foreign
    assert error.value.__cause__ is foreign


def test_our_own_errors_pass() -> None:
    """What is ours already stays what it is, and a bug stays a bug."""
    away = CassandraUnavailable("x")
    assert ours(away, "y") is away
    with pytest.raises(ZeroDivisionError), translated("y"):
        _ = 1 / 0
