"""What is there before the services start."""

from dataclasses import replace
from pathlib import Path

from infra.cli.compacted import newest
from infra.cli.key import publish
from infra.cli.supervision.plan import Options
from infra.cli.supervision.preparation import Preparation
from infra.cli.supervision.secret_file import read_secret
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.settings import SettingsSource
from schemas import identity, topics
from schemas.records import KeyChanged


async def test_each_step_is_taken_once(
    kafka: str, cassandra: tuple[str, int], topic_prefix: str, keyspace: str, tmp_path: Path
) -> None:
    """A second preparation creates nothing and keeps the key; only a revoked key is replaced."""
    source = SettingsSource(
        environ={
            "PARLEY_KAFKA_BOOTSTRAP": kafka,
            "PARLEY_KAFKA_TOPIC_PREFIX": topic_prefix,
            "PARLEY_CASSANDRA_CONTACT_POINTS": cassandra[0],
            "PARLEY_CASSANDRA_PORT": str(cassandra[1]),
            "PARLEY_CASSANDRA_KEYSPACE": keyspace,
        }
    )
    settings = source.read(KafkaSettings, "kafka")
    said: list[str] = []
    preparation = Preparation(source, tmp_path, Options(engine="simulated"), said.append)
    await preparation.run()
    assert any(line.startswith("Created ") for line in said)
    first = read_secret(tmp_path / "key")
    said.clear()
    await preparation.run()
    assert said == []
    assert read_secret(tmp_path / "key") == first
    [known] = (await newest(settings, topics.KEYS, KeyChanged)).values()
    assert known.hash == identity.key_hash(first)
    await publish(settings, replace(known, revoked=True))
    await preparation.run()
    assert read_secret(tmp_path / "key") != first
