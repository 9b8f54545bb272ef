"""The outgoing log on real Kafka."""

import asyncio
from dataclasses import replace

import pytest

from infra.runtime.kafka import Appender
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.kafka_topics import TopicAdmin
from producers.publishing.kafka_outgoing import KafkaOutgoingLog, KafkaOwnTopics
from schemas import codec, topics
from schemas.errors import KafkaUnavailable
from schemas.records import ConversationChanged, ConversationReset, Record, TurnStopRequested
from tests.producers.support.asked import AT, CONVERSATION, TURN, requested
from tests.support.waiting import until

LOG = requested().request.log
RESET = ConversationReset(id="r", at=AT, tenant="acme", conversation=CONVERSATION, user="anna", log=LOG)
STOP = TurnStopRequested(id="s", at=AT, tenant="acme", conversation=CONVERSATION, turn=TURN)
CHANGED = ConversationChanged(id="c", at=AT, tenant="acme", conversation=CONVERSATION, user="anna", created_at=AT)


async def test_everything_lies_where_it_is_read(kafka: str, topic_prefix: str) -> None:
    """Turns and resets share a partition in their order; stops and changes have topics of their own."""
    settings = KafkaSettings(bootstrap=kafka, topic_prefix=topic_prefix, partitions=1)
    admin, appender, reader = TopicAdmin(settings, "test"), Appender(settings, "test"), LogReader(settings, "test")
    names = (topics.REQUESTS, topics.CONTROL, topics.CONVERSATIONS)
    await admin.create([topics.TOPICS[name] for name in names])
    outgoing = KafkaOutgoingLog(appender, ack_s=10)
    await outgoing.accept(requested())
    await outgoing.pass_on(RESET)
    await outgoing.stop(STOP)
    await outgoing.change(CHANGED)
    found: dict[str, list[Record]] = {}
    for name in names:
        found[name] = [codec.decode(entry.value or b"") for entry in await reader.read_all(name, 0, 0)]
    assert found == {topics.REQUESTS: [requested(), RESET], topics.CONTROL: [STOP], topics.CONVERSATIONS: [CHANGED]}
    await appender.stop()
    await reader.stop()
    await admin.delete(names)
    await admin.stop()


async def test_an_append_that_nobody_acknowledges_is_given_up(
    kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client hears in time that nobody knows whether it is done, and what to do about it."""
    appender = Appender(KafkaSettings(bootstrap=kafka, topic_prefix=topic_prefix), "test")

    async def silent(*_given: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(appender, "append", silent)
    with pytest.raises(KafkaUnavailable, match="may be done or not: send it again with the same Idempotency-Key"):
        await KafkaOutgoingLog(appender, ack_s=0.01).stop(STOP)


async def test_own_topics_are_made_and_unmade(kafka: str, topic_prefix: str) -> None:
    """A made topic can be written at once, and is there; making and unmaking may be repeated."""
    settings = KafkaSettings(bootstrap=kafka, topic_prefix=topic_prefix)
    admin = TopicAdmin(settings, "test")
    own = KafkaOwnTopics(admin)
    await own.make([CONVERSATION])
    await own.make([CONVERSATION])
    stranger = replace(topics.own_topic(CONVERSATION), name=f"{topics.OWN_TOPIC_PREFIX}mine")
    await admin.create([stranger, topics.TOPICS[topics.LANES]])
    assert await own.there() == [CONVERSATION]
    await own.unmake([CONVERSATION])
    await own.unmake([CONVERSATION])

    async def is_gone() -> bool:
        return not await own.there()

    await until(is_gone)
    await admin.delete(await admin.names())
    await admin.stop()
