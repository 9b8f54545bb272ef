"""What a gate knows beside its records: time, words, a fleet of two pools, and no metrics."""

from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from infra.runtime.clock import Clock
from schemas.records import DeploymentSet, TurnAllowed, TurnRefused
from schemas.topics import CLOSING_POOL
from stream_processors.enrichment.facts import Limits
from stream_processors.enrichment.prompt import Measure
from stream_processors.routing.fleet import Fleet, Pool

if TYPE_CHECKING:
    from tests.simulation.world import World

POOLS: Final = ("a", "b")
LIMITS: Final = Limits(waiting=2)
_MEASURE: Final = Measure(frame_tokens=1, framed_tokens=2, max_model_len=4096, count=lambda _message: 3)


class Shelf:
    """See `Requests`: everything in `chat.moderated` is at hand."""

    def __init__(self, log: list[Any]) -> None:
        self._log = log

    def keep(self, _partition: int, _offset: int, _record: object, _size: int) -> None:
        """It stays in the log anyway."""

    def drop(self, _partition: int, _offset: int) -> None:
        """It stays in the log anyway."""

    def at_hand(self, _partition: int, offset: int) -> TurnAllowed | TurnRefused:
        """The record."""
        found: TurnAllowed | TurnRefused = self._log[offset]
        return found

    async def fetch(self, partition: int, offset: int) -> TurnAllowed | TurnRefused:
        """The record."""
        return self.at_hand(partition, offset)


class FleetReports:
    """See `FleetView`: workers' reports, without a delay."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def at(self, _now_ms: int) -> Fleet:
        """The fleet now."""
        return self._world.fleet()

    def deployment(self, pool: str | None) -> DeploymentSet | None:
        """What a pool serves."""
        return None if pool is None or pool == CLOSING_POOL else deployment(pool)


class _Words:
    def of(self, _deployment: DeploymentSet) -> Measure:
        """Every model counts alike."""
        return _MEASURE


class _NoGauges:
    def moved(self, *_change: object) -> None:
        """Nobody looks."""

    def closed(self, _partition: int) -> None:
        """Nobody looks."""

    def dispatched(self, _pool: str) -> int:
        """No pool is ever full."""
        return 0

    def before(self, _turn: object) -> int:
        """No turn waits in its pool."""
        return 0


WORDS: Final = cast("Any", _Words())
NO_GAUGES: Final = cast("Any", _NoGauges())


def clock_of(world: "World") -> Clock:
    """The world's own time; nothing in a gate asks for chance."""
    return Clock(wall_ms=lambda: world.now_ms, monotonic_s=lambda: world.now_ms / 1000, entropy=bytes)


@cache
def deployment(pool: str) -> DeploymentSet:
    """What a pool serves."""
    return DeploymentSet(
        id=f"deployment.{pool}",
        at="2026-01-01T00:00:00.000Z",
        pool=pool,
        deployment=pool,
        model="m",
        model_version="1",
        engine="simulated",
        max_model_len=4096,
    )


@cache
def fleet(alive: tuple[str, ...], preferred: str) -> Fleet:
    """The fleet in which these pools have workers and this one is the least loaded."""
    pools = {}
    for name in (*POOLS, CLOSING_POOL):
        workers = int(name in alive)
        running = int(name != preferred) * workers
        pools[name] = Pool(deployment=deployment(name), workers=workers, slots=4 * workers, running=running)
    return Fleet(pools)
