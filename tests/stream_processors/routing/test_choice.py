from dataclasses import replace

from schemas.errors import ErrorCode
from schemas.records import DeploymentSet, WorkerReported
from schemas.turns import Failure
from stream_processors.routing.choice import choose
from stream_processors.routing.fleet import SILENT_MS, Fleet, Member, Pool, snapshot
from stream_processors.routing.waiting import ahead, eta_s


def _deployment(pool: str, model: str = "m", tiers: tuple[str, ...] = ()) -> DeploymentSet:
    return DeploymentSet(
        id=pool, at="", pool=pool, deployment=f"{pool}-v1", model=model, model_version="1", engine="simulated",
        max_model_len=100, tiers=tiers,
    )  # fmt: skip


def _worker(pool: str, worker: str = "w", running: int = 0, waiting: int = 0, state: str = "ready") -> WorkerReported:
    return WorkerReported(
        id=worker, at="", worker=worker, pool=pool, deployment=pool, model="m", model_version="1", engine="simulated",
        state=state, slots=4, running=running, waiting=waiting, kv_usage=0.0, tokens_per_s=0.0,
    )  # fmt: skip


def _chosen(fleet: Fleet, model: str | None = None, tier: str = "standard") -> str:
    pool = choose(fleet, model=model, tier=tier)
    assert isinstance(pool, Pool), pool
    return pool.deployment.pool


def _refused(fleet: Fleet, model: str | None = None, tier: str = "standard") -> ErrorCode:
    failure = choose(fleet, model=model, tier=tier)
    assert isinstance(failure, Failure)
    return failure.code


def test_silent_and_draining_workers_are_gone() -> None:
    """A worker counts while it reported within 5 s and isn't draining."""
    reports = [
        (0, _worker("a", "w1")),
        (SILENT_MS, _worker("a", "w2")),
        (SILENT_MS, _worker("a", "w3", state="draining")),
    ]
    fleet = snapshot([_deployment("a")], reports, SILENT_MS + 1)
    assert (fleet.pools["a"].workers, fleet.pools["a"].slots) == (1, 4)
    assert fleet.is_alive("a")
    assert not fleet.is_alive("b")


def test_members_say_what_they_own() -> None:
    """Each live worker is named with its load and its partitions; one that doesn't tell owns none that we know."""
    reports = [(0, replace(_worker("a", "w2", running=2), partitions=(1, 3))), (0, _worker("a", "w1"))]
    [pool] = snapshot([_deployment("a")], reports, 0).pools.values()
    assert pool.members == (Member("w1", 0.0, ()), Member("w2", 0.5, (1, 3)))


def test_the_model_names_the_pool() -> None:
    """A model is found by its own name, its deployment's or its pool's; an unknown one is the caller's fault."""
    fleet = snapshot([_deployment("a", "small"), _deployment("b", "large")], [], 0)
    assert _chosen(fleet, "large") == "b"
    assert _chosen(fleet, "b-v1") == "b"
    assert _refused(fleet, "gpt-9") is ErrorCode.INVALID_REQUEST
    assert _refused(Fleet()) is ErrorCode.UNAVAILABLE


def test_tiers_are_kept_out() -> None:
    """A pool with tiers serves only those."""
    fleet = snapshot([_deployment("a", tiers=("pro",))], [], 0)
    assert _chosen(fleet, tier="pro") == "a"
    assert _refused(fleet, tier="free") is ErrorCode.FORBIDDEN


def test_the_least_loaded_living_pool_wins() -> None:
    """Workers before none, then load, then the name; `closing` is never chosen."""
    deployments = [_deployment(name) for name in ("a", "b", "c", "closing")]
    reports = [(0, _worker("b", "w1", running=4)), (0, _worker("c", "w2", running=1)), (0, _worker("closing", "w3"))]
    assert _chosen(snapshot(deployments, reports, 0)) == "c"
    assert _chosen(snapshot(deployments, [], 0)) == "a"


def test_turns_beyond_the_slots_wait() -> None:
    """A turn that finds a slot waits for nobody; one behind them for as many as must end; without a worker for all."""
    pool = snapshot([_deployment("a")], [(0, _worker("a"))], 0).pools["a"]
    assert [ahead(pool, before) for before in (0, 3, 4, 5)] == [None, None, 1, 2]
    nobody = Pool(deployment=_deployment("a"))
    assert [ahead(nobody, before) for before in (0, 1, 2)] == [0, 1, 2]
    full = snapshot([_deployment("a")], [(0, _worker("a", running=4, waiting=3))], 0).pools["a"]
    assert ahead(full, 0) == 3  # other gates' turns


def test_etas_need_to_know_something() -> None:
    """Seconds until its turn, from how long turns take; None without a worker or without experience."""
    pool = snapshot([_deployment("a")], [(0, _worker("a", running=4, waiting=3))], 0).pools["a"]
    assert pool.ahead == 3
    assert eta_s(pool, 3, 2.0) == 2.0
    assert eta_s(pool, 3, None) is None
    assert eta_s(Pool(deployment=_deployment("a")), 3, 2.0) is None
