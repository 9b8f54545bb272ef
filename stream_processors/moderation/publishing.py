"""Policies put in force and listed, by way of Kafka: what `parley policy push` and `list` do."""

from pathlib import Path

from infra.runtime.clock import SYSTEM
from infra.runtime.kafka import Appender
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_settings import KafkaSettings
from schemas import codec, instants, topics
from schemas.errors import ContractError
from schemas.records import PolicyPublished
from stream_processors.moderation.policy import PolicyError
from stream_processors.moderation.publication import PolicyFile, check, record


async def push_policy(kafka: KafkaSettings, file: Path | PolicyFile) -> PolicyPublished:
    """Check the file, publish it as the policy's next version, and return it acknowledged.

    Raises:
        PolicyError: it can't be put in force; nothing was published, the last version stays.
        KafkaUnavailable: nothing is known of it; it may be pushed again.
    """
    checked = check(file) if isinstance(file, Path) else file
    last = (await _published(kafka)).get(checked.policy)
    version = 1 if last is None else last.policy_version + 1
    published = record(checked, version=version, at=instants.from_ms(SYSTEM.wall_ms()))
    appender = Appender(kafka, "policy")
    try:
        await appender.append(topics.POLICIES, published)
    finally:
        await appender.stop()
    return published


async def remove_policy(kafka: KafkaSettings, name: str) -> None:
    """Take a policy out of force. Raises PolicyError when there is none of that name."""
    if name not in await _published(kafka):
        raise PolicyError(f"there is no policy {name!r}")
    appender = Appender(kafka, "policy")
    try:
        await appender.tombstone(topics.POLICIES, name)
    finally:
        await appender.stop()


async def list_policies(kafka: KafkaSettings) -> tuple[PolicyPublished, ...]:
    """The newest version of each policy, by name."""
    found = await _published(kafka)
    return tuple(found[name] for name in sorted(found))


async def _published(kafka: KafkaSettings) -> dict[str, PolicyPublished]:
    reader = LogReader(kafka, "policy")
    found: dict[str, PolicyPublished] = {}
    try:
        for partition in await reader.partitions(topics.POLICIES):
            begin, _ = await reader.bounds(topics.POLICIES, partition)
            async for entry in reader.read(topics.POLICIES, partition, begin):
                _put(found, entry.key, entry.value)
    finally:
        await reader.stop()
    return found


def _put(found: dict[str, PolicyPublished], key: bytes | None, value: bytes | None) -> None:
    if value is None:
        found.pop((key or b"").decode(errors="replace"), None)
        return
    try:
        published = codec.decode(value)
    except ContractError:
        # What nobody can read is in force nowhere; a new version of it is pushed over it.
        return
    if isinstance(published, PolicyPublished):
        found[published.policy] = published
