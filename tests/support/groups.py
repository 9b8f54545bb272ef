"""Who is in a consumer group, as its coordinator says."""

from typing import Final

from aiokafka.admin import AIOKafkaAdminClient

from infra.runtime.kafka_settings import KafkaSettings
from tests.support.waiting import until

# A session timeout, an expulsion and a rebalance, on a busy machine.
_SETTLED_S: Final = 45.0


async def members(kafka: KafkaSettings, group: str) -> frozenset[str]:
    """The ids of the group's members; none while it is rebalancing."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        [told] = await admin.describe_consumer_groups([group])
        _code, _name, state, _kind, _protocol, rows, *_ = told.groups[0]
        return frozenset(row[0] for row in rows) if state == "Stable" else frozenset()
    finally:
        await admin.close()


async def until_members(kafka: KafkaSettings, group: str, count: int) -> frozenset[str]:
    """Wait until the group is settled with so many members, and return them."""

    async def ask() -> frozenset[str]:
        found = await members(kafka, group)
        return found if len(found) == count else frozenset()

    return await until(ask, limit_s=_SETTLED_S, every_s=0.2)
