"""The directory on real Kafka."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from infra.runtime.kafka import Appender
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.kafka_topics import TopicAdmin
from producers.directory.following import Directory
from schemas import topics
from schemas.ids import conversation_id
from schemas.records import ConversationChanged
from tests.producers.directory.test_keys import KEY
from tests.producers.support.asked import AT, CONVERSATION

CHANGED = ConversationChanged(id="c", at=AT, tenant="acme", conversation=CONVERSATION, user="anna", created_at=AT)


@pytest.fixture
async def settings(kafka: str, topic_prefix: str) -> AsyncIterator[KafkaSettings]:
    made = KafkaSettings(bootstrap=kafka, topic_prefix=topic_prefix, partitions=2)
    admin = TopicAdmin(made, "test")
    names = (topics.KEYS, topics.CONVERSATIONS, topics.DEPLOYMENTS)
    await admin.create([topics.TOPICS[name] for name in names])
    yield made
    await admin.delete(names)
    await admin.stop()


async def test_nothing_acknowledged_is_unknown(settings: KafkaSettings) -> None:
    """What was there at the start is known; what was made elsewhere since is known when it is asked for."""
    appender = Appender(settings, "test")
    await appender.append(topics.KEYS, KEY)
    directory = Directory(settings)
    await directory.start()
    try:
        assert directory.has_started
        assert "h1" in directory.keys.by_hash
        await appender.append(topics.CONVERSATIONS, CHANGED)
        assert await directory.conversation(CONVERSATION) == CHANGED
        assert await directory.conversation(conversation_id("0" * 32)) is None
        await appender.append(topics.KEYS, replace(KEY, revoked=True))
        await asyncio.gather(*(directory.refresh_keys() for _ in range(20)))
        assert directory.keys.by_hash["h1"].revoked
        await appender.tombstone(topics.KEYS, "k1")
        await directory.refresh_keys()
        assert directory.keys.by_hash == {}
    finally:
        await directory.stop()
        await appender.stop()


async def test_bytes_that_are_no_record_are_passed_over(settings: KafkaSettings) -> None:
    """One unreadable record doesn't hide those behind it."""
    appender = Appender(settings, "test")
    await appender.append_bytes(topics.KEYS, b"{", key=b"k0")
    await appender.append(topics.KEYS, KEY)
    await appender.stop()
    directory = Directory(settings)
    await directory.start()
    assert "h1" in directory.keys.by_hash
    await directory.stop()


async def test_the_nameless_are_those_that_no_record_names(settings: KafkaSettings) -> None:
    """A conversation has begun when a record names it, however new, and also where only a newer version can read it."""
    appender = Appender(settings, "test")
    directory = Directory(settings)
    await directory.start()
    later, unread, free = (conversation_id(digit * 32) for digit in "123")
    await appender.append_bytes(
        topics.CONVERSATIONS, b'{"type":"ConversationChanged","version":2}', key=unread.encode()
    )
    await appender.append(topics.CONVERSATIONS, replace(CHANGED, conversation=later, deleted=True))
    assert await directory.nameless([later, unread, free]) == [free]
    await directory.stop()
    await appender.stop()
