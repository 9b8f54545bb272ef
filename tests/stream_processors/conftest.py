"""Kafka as the processors see it: the table's topics under a prefix that is gone behind the test."""

from collections.abc import AsyncIterator

import pytest

from infra.runtime.kafka import Appender, KafkaSettings
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_topics import TopicAdmin
from schemas import topics
from tests.stream_processors.records import Log

USED = (
    topics.REQUESTS,
    topics.MODERATED,
    topics.TURNS,
    topics.CONVERSATIONS,
    topics.VERDICTS,
    topics.POLICIES,
    topics.DEAD_LETTERS,
)


@pytest.fixture
async def kafka_settings(kafka: str, topic_prefix: str) -> AsyncIterator[KafkaSettings]:
    """A prefix with the topics that moderation and persistence use under it."""
    settings = KafkaSettings(bootstrap=kafka, topic_prefix=topic_prefix, request_timeout_s=10)
    admin = TopicAdmin(settings, "test")
    await admin.create([topics.TOPICS[name] for name in USED])
    yield settings
    await admin.delete(USED)
    await admin.stop()


@pytest.fixture
async def appender(kafka_settings: KafkaSettings) -> AsyncIterator[Appender]:
    """A started appender of the role `gateway`."""
    made = Appender(kafka_settings, "gateway")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def log(kafka_settings: KafkaSettings) -> AsyncIterator[Log]:
    """Whole topics, read back."""
    reader = LogReader(kafka_settings, "test")
    yield Log(reader)
    await reader.stop()
