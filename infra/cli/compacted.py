"""Commands read and write compacted topics: the newest record of each key, as of now."""

from collections.abc import Mapping
from typing import TypeVar

from infra.runtime.kafka_follow import Follower
from infra.runtime.kafka_log import Entry
from infra.runtime.kafka_settings import KafkaSettings
from schemas import codec
from schemas.errors import ContractError
from schemas.records import Record

R = TypeVar("R", bound=Record)


async def newest(settings: KafkaSettings, topic: str, kind: type[R]) -> Mapping[str, R]:
    """Return the newest record of each key; what can't be read is not there.

    Raises:
        KafkaUnavailable: the brokers don't answer, or there is no such topic.
    """
    found: dict[str, R] = {}

    def keep(_partition: int, entry: Entry) -> None:
        if entry.key is None:
            return
        key = entry.key.decode(errors="replace")
        found.pop(key, None)
        if entry.value is not None:
            try:
                record = codec.decode(entry.value)
            except ContractError:
                return
            if isinstance(record, kind):
                found[key] = record

    follower = Follower(settings, topic, keep, role="cli")
    try:
        await follower.start(within_s=20.0)
    finally:
        await follower.stop()
    return found
