"""The three stream processors: each builds its objects here and runs until SIGTERM or SIGINT."""

from pathlib import Path

from infra.runtime.cassandra import CassandraSettings
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.metrics import Metrics
from infra.runtime.service import Service, ServiceSettings, serve
from infra.runtime.settings import SettingsSource
from schemas.records import PolicyPublished
from stream_processors.moderation import publishing
from stream_processors.settings import ModerationSettings, PersistenceSettings


async def run_moderation(source: SettingsSource) -> None:
    """Judge what clients send, by the policies in force."""
    # Faust takes half a second to import and only two of the three need it.
    from stream_processors.moderation.app import Moderation  # noqa: PLC0415

    metrics = Metrics("moderation")
    service = Moderation(source.read(KafkaSettings, "kafka"), source.read(ModerationSettings, "moderation"), metrics)
    await _serve(source, service, "moderation", metrics)


async def run_enrichment(source: SettingsSource) -> None:
    """Keep each conversation one order, build its prompts, dispatch its turns."""
    from stream_processors.enrichment import service  # noqa: PLC0415

    await service.run(source)


async def run_persistence(source: SettingsSource) -> None:
    """Copy turns and conversations into Cassandra."""
    from stream_processors.persistence.app import Persistence  # noqa: PLC0415

    metrics = Metrics("persistence")
    service = Persistence(
        source.read(KafkaSettings, "kafka"),
        source.read(CassandraSettings, "cassandra"),
        source.read(PersistenceSettings, "persistence"),
        metrics,
    )
    await _serve(source, service, "persistence", metrics)


async def push_policy(source: SettingsSource, file: Path) -> PolicyPublished:
    """Check a policy file and put it in force as its policy's next version. Raises PolicyError, KafkaUnavailable."""
    return await publishing.push_policy(source.read(KafkaSettings, "kafka"), file)


async def list_policies(source: SettingsSource) -> tuple[PolicyPublished, ...]:
    """The newest version of each policy, by name. Raises KafkaUnavailable."""
    return await publishing.list_policies(source.read(KafkaSettings, "kafka"))


async def _serve(source: SettingsSource, service: Service, role: str, metrics: Metrics) -> None:
    settings = source.read(ServiceSettings, "service")
    await serve(
        service,
        role=role,
        host=settings.host,
        metrics_port=settings.metrics_port,
        drain_s=settings.drain_s,
        metrics=metrics,
    )
