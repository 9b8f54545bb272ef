"""Kafka as an analyst sees it: whole topics, read with a plain consumer and the contract's names."""

from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient


async def topics_of(bootstrap: str) -> dict[str, int]:
    """Every topic and its number of partitions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        described = await admin.describe_topics()
        return {topic["topic"]: len(topic["partitions"]) for topic in described}
    finally:
        await admin.close()


async def read_whole(bootstrap: str, names: Sequence[str]) -> list[Any]:
    """All records of these topics, from their beginnings to their ends at the time of the call."""
    counts = await topics_of(bootstrap)
    partitions = [TopicPartition(name, each) for name in names for each in range(counts[name])]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        entries: list[Any] = []
        while any([await consumer.position(each) < end for each, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=300)).values():
                entries.extend(batch)
        return entries
    finally:
        await consumer.stop()
