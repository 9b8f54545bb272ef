import asyncio

import pytest

from infra.runtime.kafka import Appender, KafkaSettings
from schemas import codec, topics
from schemas.errors import KafkaUnavailable
from stream_processors.moderation.policies import PolicyFollower, PolicyShelf
from stream_processors.moderation.policy import PolicyError, PolicySet
from stream_processors.moderation.publication import PolicyFile, checked, record
from stream_processors.moderation.publishing import list_policies, push_policy, remove_policy


def policy(name: str, *texts: str) -> PolicyFile:
    return checked({"policy": name, "rules": [{"rule": "r", "texts": list(texts)}]})


def encoded(file: PolicyFile, version: int) -> bytes:
    return codec.encode(record(file, version=version, at="2026-01-31T12:00:00.000Z"))


def test_a_shelf_keeps_the_last_good_version() -> None:
    """A record that can't be put in force is remembered as broken and changes nothing; a good one mends it."""
    shelf = PolicyShelf()
    assert shelf.put(b"a", encoded(policy("a", "x"), 1))
    broken = encoded(policy("a", "x"), 2).replace(b'"texts":["x"]', b'"texts":[]')
    for value in (broken, b"{", b'{"type":"KeyChanged","version":1}'):
        assert not shelf.put(b"a", value)
        assert shelf.policies.version_of("a") == 1
    assert set(shelf.broken) == {"a"}
    assert shelf.put(b"a", encoded(policy("a", "y"), 3))
    assert (shelf.policies.version_of("a"), shelf.broken) == (3, {})
    assert shelf.put(b"a", None)
    assert shelf.policies.policies == ()


async def test_nothing_passes_before_all_is_read(kafka_settings: KafkaSettings) -> None:
    """Until policy.rules has been read to its end nobody gets a set to judge by; then every published one counts."""
    await push_policy(kafka_settings, policy("a", "x"))
    follower = PolicyFollower(kafka_settings, "test")
    with pytest.raises(KafkaUnavailable, match="nothing may pass"):
        _ = follower.current
    await follower.start()
    assert follower.current.version_of("a") == 1
    assert follower.is_live
    await follower.stop()


async def test_a_push_reaches_every_follower(kafka_settings: KafkaSettings) -> None:
    """Each push is the next version, and counts within two seconds wherever it is followed; a removal as well."""
    seen: asyncio.Queue[PolicySet] = asyncio.Queue()
    follower = PolicyFollower(kafka_settings, "test", on_change=seen.put_nowait)
    await follower.start()
    assert (await seen.get()).policies == ()
    for version in (1, 2):
        published = await push_policy(kafka_settings, policy("a", "x", str(version)))
        assert published.policy_version == version
        assert (await asyncio.wait_for(seen.get(), 2)).version_of("a") == version
    assert [(each.policy, each.policy_version) for each in await list_policies(kafka_settings)] == [("a", 2)]
    await remove_policy(kafka_settings, "a")
    assert (await asyncio.wait_for(seen.get(), 2)).version_of("a") == 0
    with pytest.raises(PolicyError, match="no policy 'a'"):
        await remove_policy(kafka_settings, "a")
    await follower.stop()


async def test_a_broken_record_is_said(kafka_settings: KafkaSettings, appender: Appender) -> None:
    """A record that somebody wrote by hand is told as broken while the last good version judges on."""
    await push_policy(kafka_settings, policy("a", "x"))
    await appender.append_bytes(topics.POLICIES, b"nonsense", key=b"a")
    follower = PolicyFollower(kafka_settings, "test")
    await follower.start()
    assert (follower.current.version_of("a"), follower.broken) == (1, ("a",))
    assert (await push_policy(kafka_settings, policy("a", "y"))).policy_version == 2
    await follower.stop()
