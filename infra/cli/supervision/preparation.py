"""What must be there before the services start: topics, tables, deployments, a first key. Each step is idempotent."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from infra.cli.compacted import newest
from infra.cli.key import DEFAULT_TIER, new_key, publish
from infra.cli.supervision.deployments import deployments_of
from infra.cli.supervision.plan import Options
from infra.cli.supervision.secret_file import read_secret, write_secret
from infra.cli.topics import apply_table, refuse_other_partitions, tables_topics
from infra.migrations.runner import migrate
from infra.runtime.cassandra import CassandraSettings, Store
from infra.runtime.kafka import Appender
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.settings import SettingsSource
from schemas import identity, topics
from schemas.records import KeyChanged

DEVELOPMENT_TENANT: Final = "dev"


class Preparation:
    """The steps between the brokers and the services.

    Args:
        source: with the brokers' addresses.
        data: where the development key is kept.
    """

    def __init__(self, source: SettingsSource, data: Path, options: Options, say: Callable[[str], None]) -> None:
        self._kafka = source.read(KafkaSettings, "kafka")
        self._cassandra = source.read(CassandraSettings, "cassandra")
        self._source = source
        self._data = data
        self._options = options
        self._say = say

    async def run(self) -> None:
        """Take every step. Raises ParleyError."""
        await self._topics()
        await self._tables()
        await self._deployments()
        await self._key()

    async def _topics(self) -> None:
        applied = await apply_table(self._kafka, tables_topics())
        refuse_other_partitions(applied)
        if applied.created:
            self._say(f"Created {len(applied.created)} topics")
        for difference in applied.differences:
            self._say(f"Warning: topic {difference}")

    async def _tables(self) -> None:
        store = Store(self._cassandra)
        try:
            applied = await migrate(store)
        finally:
            await store.stop()
        if applied:
            self._say(f"Applied {len(applied)} migrations to keyspace {self._cassandra.keyspace}")

    async def _deployments(self) -> None:
        appender = Appender(self._kafka, "cli")
        try:
            for deployment in deployments_of(self._options, self._source, self._say):
                await appender.append(topics.DEPLOYMENTS, deployment)
        finally:
            await appender.stop()

    async def _key(self) -> None:
        """A key for development, made once; one that was revoked stays so, and a new one takes its place."""
        file = self._data / "key"
        known = await newest(self._kafka, topics.KEYS, KeyChanged)
        if file.exists():
            key_id = identity.key_id_of(read_secret(file))
            if key_id is not None and key_id in known and not known[key_id].revoked:
                return
        key, record = new_key(
            tenant=DEVELOPMENT_TENANT, tier=DEFAULT_TIER, scopes=identity.SCOPES, label="made by parley up"
        )
        await publish(self._kafka, record)
        write_secret(file, key)
