"""The newest record of each key."""

import asyncio

from infra.cli.compacted import newest
from infra.cli.key import new_key
from infra.cli.topics import apply_table, tables_topics
from infra.runtime.kafka import Appender
from infra.runtime.kafka_settings import KafkaSettings
from schemas import topics
from schemas.records import KeyChanged, PolicyPublished


async def test_only_the_newest_counts_and_a_tombstone_is_none(kafka: str, topic_prefix: str) -> None:
    """Later records win, deleted keys are gone, what can't be read or is of another kind isn't there."""
    settings = KafkaSettings(bootstrap=kafka, topic_prefix=topic_prefix)
    await apply_table(settings, tables_topics())
    appender = Appender(settings, "test")
    records = [new_key(tenant="t", tier="a", scopes=(), label=None)[1] for _ in range(2)]
    for record in records:
        await appender.append(topics.KEYS, record)
    await appender.tombstone(topics.KEYS, records[0].key_id)
    await appender.append_bytes(topics.KEYS, b"{", key=b"broken")
    async with asyncio.timeout(30):
        found = await newest(settings, topics.KEYS, KeyChanged)
        assert found == {records[1].key_id: records[1]}
        assert await newest(settings, topics.KEYS, PolicyPublished) == {}
    await appender.stop()
