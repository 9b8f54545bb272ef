"""Topics on a real Kafka: made as the table says, compared when they are there, deleted by name."""

from dataclasses import replace

import pytest

from infra.runtime.kafka import KafkaSettings
from infra.runtime.kafka_topics import Applied, TopicAdmin
from schemas import ids, topics
from schemas.errors import KafkaUnavailable


async def test_the_whole_table_is_made_once(admin: TopicAdmin) -> None:
    """Everything that is declared exists after one call, and a second one finds nothing to do."""
    wanted = [*topics.TOPICS.values(), topics.inference_topic("default")]
    first = await admin.apply(wanted)
    assert {topics.TURNS, "inference.default"} <= set(first.created)
    assert set(await admin.names()) == {topic.name for topic in wanted}
    assert await admin.apply(wanted) == Applied((), ())


async def test_what_differs_is_told(admin: TopicAdmin, kafka_settings: KafkaSettings) -> None:
    """A topic with other partitions, retention or policy is named with what is and what should be; none is changed."""
    await admin.apply([topics.TOPICS[topics.TURNS]])
    other = TopicAdmin(replace(kafka_settings, partitions=5), "test")
    wanted = replace(topics.TOPICS[topics.TURNS], retention_ms=1000, compacted=True)
    told = [str(difference) for difference in (await other.apply([wanted])).differences]
    assert "chat.turns: number of partitions is 4, should be 5" in told
    assert "chat.turns: retention.ms is 2592000000, should be 1000" in told
    assert "chat.turns: cleanup.policy is delete, should be compact,delete" in told
    assert await admin.apply([topics.TOPICS[topics.TURNS]]) == Applied((), ())
    await other.stop()


async def test_many_at_once_and_again(admin: TopicAdmin) -> None:
    """A batch of own topics is made in one go, can be used at once, and making them again is no error."""
    own = [topics.own_topic(ids.conversation_id(f"{number:032x}")) for number in range(50)]
    assert await admin.create(own) == tuple(topic.name for topic in own)
    assert await admin.create(own[:3]) == ()
    assert await admin.create([]) == ()


async def test_deleting_what_is_gone_is_fine(admin: TopicAdmin) -> None:
    """A delete may be repeated."""
    own = topics.own_topic(ids.conversation_id("e" * 32))
    await admin.create([own])
    await admin.delete([own.name])
    await admin.delete([own.name, "conversation.never"])
    await admin.delete([])


async def test_partitions_come_from_settings(admin: TopicAdmin, kafka_settings: KafkaSettings) -> None:
    """Each kind of topic gets its own setting's number."""
    other = TopicAdmin(replace(kafka_settings, partitions=3, inference_partitions=5, lanes=7), "test")
    assert other.partitions_of(topics.TOPICS[topics.REQUESTS]) == 3
    assert other.partitions_of(topics.inference_topic("default")) == 5
    assert other.partitions_of(topics.TOPICS[topics.LANES]) == 7
    assert other.partitions_of(topics.TOPICS[topics.KEYS]) == 1


async def test_what_the_broker_refuses_is_told(kafka_settings: KafkaSettings) -> None:
    """More copies than brokers is refused with the broker's own reason."""
    admin = TopicAdmin(replace(kafka_settings, replication_factor=9), "test")
    with pytest.raises(KafkaUnavailable, match="replication factor"):
        await admin.create([topics.own_topic(ids.conversation_id("9" * 32))])
    await admin.stop()


async def test_no_broker_is_one_error_of_ours() -> None:
    """Without a broker the call ends when its patience is over."""
    admin = TopicAdmin(KafkaSettings(bootstrap="127.0.0.1:1", request_timeout_s=0.2), "test", patience_s=0.2)
    with pytest.raises(KafkaUnavailable):
        await admin.apply([topics.TOPICS[topics.TURNS]])
