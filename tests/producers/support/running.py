"""A running gateway for tests, on real Kafka and Cassandra, with stubs behind it."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from infra.migrations.runner import migrate
from infra.runtime.band_settings import BandSettings
from infra.runtime.cassandra import Store
from infra.runtime.cassandra_settings import CassandraSettings
from infra.runtime.clock import SYSTEM
from infra.runtime.internal_settings import InternalSettings
from infra.runtime.kafka import Appender
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.kafka_topics import TopicAdmin
from infra.runtime.metrics import Metrics
from infra.runtime.turn_store import TurnStore
from producers.main import Gateway
from producers.settings import GatewaySettings
from schemas import identity, instants, topics
from schemas.records import DeploymentSet, KeyChanged
from tests.producers.support.records import MODEL
from tests.producers.support.stub_pipeline import StubDelivery, StubPipeline

TOKEN = "a token of tests, 32 characters!"


@dataclass
class Running:
    """A gateway that answers, and what stands around it."""

    gateway: Gateway
    pipeline: StubPipeline
    delivery: StubDelivery
    settings: KafkaSettings
    store: TurnStore
    key: str
    metrics: Metrics

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway.port}"

    async def new_key(self, tenant: str, *scopes: str) -> str:
        """A key that the gateway may not have heard of yet."""
        return await made_key(self.settings, tenant, *scopes)


async def made_key(settings: KafkaSettings, tenant: str, *scopes: str) -> str:
    key_id = secrets.token_hex(4)
    key = identity.write_key(key_id, secrets.token_urlsafe(24))
    appender = Appender(settings, "test")
    await appender.append(
        topics.KEYS,
        KeyChanged(
            id=f"key-{key_id}", at=instants.from_ms(SYSTEM.wall_ms()), tenant=tenant, key_id=key_id,
            hash=identity.key_hash(key), tier="standard", scopes=scopes or ("read", "write"),
        ),
    )  # fmt: skip
    await appender.stop()
    return key


async def _deploy(settings: KafkaSettings) -> None:
    appender = Appender(settings, "test")
    for pool in ("default", "closing"):
        deployment = DeploymentSet(
            id=f"{pool}.1", at=instants.from_ms(SYSTEM.wall_ms()), pool=pool, deployment="d", model=MODEL,
            model_version="1", engine="simulated", max_model_len=2048,
        )  # fmt: skip
        await appender.append(topics.DEPLOYMENTS, deployment)
    await appender.stop()


@contextlib.asynccontextmanager
async def running(
    kafka: str, cassandra: tuple[str, int], prefix: str, keyspace: str, **settings: object
) -> AsyncIterator[Running]:
    """A gateway with all its topics and tables; `settings` are the gateway's own."""
    kafka_settings = KafkaSettings(bootstrap=kafka, topic_prefix=prefix, partitions=2, lanes=2, inference_partitions=1)
    cassandra_settings = CassandraSettings(contact_points=(cassandra[0],), port=cassandra[1], keyspace=keyspace)
    admin = TopicAdmin(kafka_settings, "test")
    await admin.apply(topics.TOPICS.values())
    store = Store(cassandra_settings)
    await store.connected()
    await migrate(store)
    await _deploy(kafka_settings)
    key = await made_key(kafka_settings, "acme")
    pipeline = StubPipeline(kafka_settings, TurnStore(store))
    delivery = StubDelivery(kafka_settings, TOKEN)
    await pipeline.start()
    await delivery.start()
    metrics = Metrics("gateway")
    given = {"port": 0, "deliveries": (f"http://127.0.0.1:{delivery.port}",), "spare_topics": 2, "abandon_s": 0.1}
    gateway = Gateway(
        GatewaySettings(**{**given, **settings}),  # type: ignore[arg-type]
        InternalSettings(token=TOKEN),
        kafka_settings,
        cassandra_settings,
        metrics,
        drain_s=5.0,
        bands={"patient": BandSettings(deadline_s=1234.0), "plain": BandSettings()},
    )
    try:
        await gateway.start()
        yield Running(gateway, pipeline, delivery, kafka_settings, TurnStore(store), key, metrics)
    finally:
        await gateway.stop()
        await delivery.stop()
        await pipeline.stop()
        await admin.delete(await admin.names())
        await admin.stop()
        with contextlib.suppress(Exception):
            await store.execute_plain(f"DROP KEYSPACE {keyspace}")
        await store.stop()


async def soon(condition: "asyncio.Event", within_s: float = 10.0) -> None:
    """Return when the event is set; fail in time."""
    await asyncio.wait_for(condition.wait(), within_s)
