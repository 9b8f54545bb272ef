"""Kafka and Cassandra as the shared edge sees them: one prefix, one keyspace a test, both gone behind it."""

from collections.abc import AsyncIterator

import pytest

from infra.runtime.cassandra import CassandraSettings, Store
from infra.runtime.kafka import Appender, KafkaSettings
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_topics import TopicAdmin
from schemas import topics
from schemas.records import TurnStopRequested
from tests.support.samples import AT, CONVERSATION, TURN


def stop_requested(number: int = 0) -> TurnStopRequested:
    """A small record that is told from others by its id."""
    return TurnStopRequested(id=str(number), at=AT, tenant="acme", conversation=CONVERSATION, turn=TURN)


@pytest.fixture
async def kafka_settings(kafka: str, topic_prefix: str) -> AsyncIterator[KafkaSettings]:
    """A prefix with `chat.requests`, `chat.conversations` and `dead.letters` under it."""
    settings = KafkaSettings(bootstrap=kafka, topic_prefix=topic_prefix)
    admin = TopicAdmin(settings, "test")
    await admin.create([topics.TOPICS[name] for name in (topics.REQUESTS, topics.CONVERSATIONS, topics.DEAD_LETTERS)])
    yield settings
    await admin.delete(await admin.names())
    await admin.stop()


@pytest.fixture
async def appender(kafka_settings: KafkaSettings) -> AsyncIterator[Appender]:
    """A started appender of the role `gateway`."""
    made = Appender(kafka_settings, "gateway")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def reader(kafka_settings: KafkaSettings) -> AsyncIterator[LogReader]:
    """A reader that gives up soon."""
    made = LogReader(kafka_settings, "test", patience_s=2)
    yield made
    await made.stop()


@pytest.fixture
async def admin(kafka_settings: KafkaSettings) -> AsyncIterator[TopicAdmin]:
    """Makes and deletes topics under the test's prefix."""
    made = TopicAdmin(kafka_settings, "test")
    yield made
    await made.stop()


@pytest.fixture
async def store(cassandra: tuple[str, int], keyspace: str) -> AsyncIterator[Store]:
    """A connected store whose keyspace exists and is dropped behind the test."""
    host, port = cassandra
    made = Store(CassandraSettings(contact_points=(host,), port=port, keyspace=keyspace))
    await made.connected()
    await made.execute_plain(
        "CREATE KEYSPACE {keyspace} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
    )
    yield made
    await made.execute_plain("DROP KEYSPACE {keyspace}")
    await made.stop()
