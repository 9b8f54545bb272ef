"""What stands around a part of the gate that is tried alone: tables in memory, and a fleet in which nothing happens."""

from typing import Any

from schemas.ids import TurnId
from schemas.records import DeploymentSet, WorkerReported
from schemas.turns import ContextTurn, Message, Reason, Role
from stream_processors.enrichment.changelog import Changelog
from stream_processors.routing.fleet import Fleet, snapshot
from tests.stream_processors.enrichment.test_changelog import FakeLog, MemoryStore
from tests.stream_processors.enrichment.world import POOL, now

NOBODY: Any = None
"""In the place of what is never asked."""

DEPLOYMENT = DeploymentSet(
    id="d", at=now(), pool=POOL, deployment=POOL, model="simulated", model_version="1", engine="simulated",
    max_model_len=4096,
)  # fmt: skip
WORKER = WorkerReported(
    id="w", at=now(), worker="w", pool=POOL, deployment=POOL, model="simulated", model_version="1", engine="simulated",
    state="ready", slots=1, running=0, waiting=0, kv_usage=0.0, tokens_per_s=0.0,
)  # fmt: skip


class StillFleet:
    """One pool, unless told of others; its worker has just reported, if there is one."""

    def __init__(self) -> None:
        self.deployments = [DEPLOYMENT]
        self.workers = [WORKER]

    def at(self, now_ms: int) -> Fleet:
        return snapshot(self.deployments, [(now_ms, worker) for worker in self.workers], now_ms)

    def deployment(self, pool: str | None) -> DeploymentSet | None:
        return next((each for each in self.deployments if each.pool == pool), None)


def memory_table(name: str, store: MemoryStore | None = None) -> Changelog:
    """A table whose every write is acknowledged; what no retry mends is raised."""

    def lost(error: BaseException) -> None:
        raise error

    return Changelog(name, FakeLog().send, store or MemoryStore(), lost)


def past(turn: TurnId, n: int, parent: TurnId | None) -> ContextTurn:
    texts = (Message(Role.USER, f"q{n}"), Message(Role.ASSISTANT, f"a{n}"))
    return ContextTurn(turn=turn, n=n, parent=parent, epoch=0, reason=Reason.STOP, texts=texts, log_start=0, log_end=n)
