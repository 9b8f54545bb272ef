"""The fleet as this process hears of it: `fleet.deployments` and `fleet.status`, followed from the beginning."""

import logging

from infra.runtime.kafka import KafkaSettings
from infra.runtime.kafka_follow import Follower
from infra.runtime.kafka_log import Entry
from schemas import codec, topics
from schemas.errors import ContractError
from schemas.records import DeploymentSet, WorkerReported
from stream_processors.routing.fleet import Fleet, snapshot

log = logging.getLogger(__name__)

# A snapshot serves for so long: workers report once a second.
_FRESH_MS = 200


class FleetView:
    """What the last records say; a snapshot of it is plain data."""

    def __init__(self, settings: KafkaSettings, role: str) -> None:
        self._deployments: dict[str, DeploymentSet] = {}
        self._reports: dict[str, tuple[int, WorkerReported]] = {}
        self._snapshot = Fleet()
        self._taken_ms = -_FRESH_MS
        self._followers = (
            Follower(settings, topics.DEPLOYMENTS, self.take_deployment, role=role),
            Follower(settings, topics.WORKERS, self.take_report, role=role),
        )

    async def start(self) -> None:
        """Both topics are read to their ends. Raises KafkaUnavailable."""
        for follower in self._followers:
            await follower.start()

    async def stop(self) -> None:
        """Follow no more."""
        for follower in self._followers:
            await follower.stop()

    @property
    def is_live(self) -> bool:
        """True while both topics are followed."""
        return all(follower.is_live for follower in self._followers)

    def at(self, now_ms: int) -> Fleet:
        """The fleet now."""
        if not 0 <= now_ms - self._taken_ms < _FRESH_MS:
            self._snapshot = snapshot(self._deployments.values(), self._reports.values(), now_ms)
            self._taken_ms = now_ms
        return self._snapshot

    def deployment(self, pool: str | None) -> DeploymentSet | None:
        """What a pool serves."""
        return None if pool is None else self._deployments.get(pool)

    @property
    def deployments(self) -> tuple[DeploymentSet, ...]:
        """All of them."""
        return tuple(self._deployments.values())

    def take_deployment(self, _partition: int, entry: Entry) -> None:
        """A record of `fleet.deployments`."""
        key = (entry.key or b"").decode()
        record = _read(entry)
        if entry.value is None:
            self._deployments.pop(key, None)
        elif isinstance(record, DeploymentSet):
            self._deployments[record.pool] = record
        self._taken_ms = -_FRESH_MS

    def take_report(self, _partition: int, entry: Entry) -> None:
        """A record of `fleet.status`."""
        key = (entry.key or b"").decode()
        record = _read(entry)
        if entry.value is None:
            self._reports.pop(key, None)
        elif isinstance(record, WorkerReported):
            self._reports[record.worker] = (entry.at_ms, record)
        if isinstance(record, WorkerReported) or entry.value is None:
            self._taken_ms = -_FRESH_MS


def _read(entry: Entry) -> object:
    if entry.value is None:
        return None
    try:
        return codec.decode(entry.value)
    except ContractError as error:
        log.warning("a record of the fleet at offset %d can't be read: %s", entry.offset, error)
        return None
