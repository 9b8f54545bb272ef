"""The fleet at one moment, as values: which pools exist, what they serve, who works there and how much waits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.records import DeploymentSet, WorkerReported

SILENT_MS: Final = 5_000  # contract: a worker that hasn't reported for 5 s counts as gone
_DRAINING: Final = "draining"


@dataclass(frozen=True, slots=True)
class Member:
    """One worker of a pool.

    Args:
        load: turns per slot. partitions: of the pool's topic that it owns.
    """

    name: str
    load: float
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One pool.

    Args:
        members: those workers, by name.
        workers: that reported a moment ago and aren't draining. slots, running, waiting: turns, over all of them.
    """

    deployment: DeploymentSet
    workers: int = 0
    slots: int = 0
    running: int = 0
    waiting: int = 0
    members: tuple[Member, ...] = ()

    @property
    def load(self) -> float:
        """Turns per slot; a pool without a slot counts as full."""
        return (self.running + self.waiting) / self.slots if self.slots else 1.0

    @property
    def ahead(self) -> int:
        """Turns that a new one waits for."""
        return self.waiting if self.running >= self.slots else 0


@dataclass(frozen=True, slots=True)
class Fleet:
    """All pools by name."""

    pools: Mapping[str, Pool] = field(default_factory=dict)

    def is_alive(self, pool: str) -> bool:
        """True when somebody works there."""
        found = self.pools.get(pool)
        return found is not None and found.workers > 0


def snapshot(deployments: Iterable[DeploymentSet], reports: Iterable[tuple[int, WorkerReported]], now_ms: int) -> Fleet:
    """The fleet now.

    Args:
        reports: each worker's last one, with the time of its record in milliseconds.
    """
    heard: dict[str, list[WorkerReported]] = {}
    for at_ms, report in reports:
        if now_ms - at_ms <= SILENT_MS and report.state != _DRAINING:
            heard.setdefault(report.pool, []).append(report)
    return Fleet({each.pool: _pool(each, heard.get(each.pool, [])) for each in deployments})


def _pool(deployment: DeploymentSet, workers: list[WorkerReported]) -> Pool:
    return Pool(
        deployment=deployment,
        workers=len(workers),
        slots=sum(worker.slots for worker in workers),
        running=sum(worker.running for worker in workers),
        waiting=sum(worker.waiting for worker in workers),
        members=tuple(sorted((_member(worker) for worker in workers), key=lambda member: member.name)),
    )


def _member(report: WorkerReported) -> Member:
    load = (report.running + report.waiting) / report.slots if report.slots else 1.0
    return Member(report.worker, load, report.partitions)
