"""One run: a pipeline of several of each tier, traffic through it, blows to it, then the audit."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos import audit
from tests.chaos.audit import Facts, Verdict
from tests.chaos.blows import Blows
from tests.chaos.plan import TENANTS, Scale, conversations, kills
from tests.chaos.traffic import Traffic
from tests.support.pipeline import SETTINGS as ANSWERS
from tests.support.pipeline import Pipeline, start
from tests.support.waiting import until

UP: Final = ("--engine", "simulated", "--gateways", "2", "--workers", "3", "--delivery", "2")
# A group waits out the session of a member that was killed, and here somebody is killed all the time: with the default
# 10 s the one gate and the one moderation of an `up` would be away for most of the run.
SETTINGS: Final = {
    **ANSWERS,
    "PARLEY_MODERATION_SESSION_TIMEOUT_S": "4",
    "PARLEY_ENRICHMENT_SESSION_TIMEOUT_S": "4",
    "PARLEY_PERSISTENCE_SESSION_TIMEOUT_S": "4",
}
# Once nobody is killed any more, what is open ends within sessions, restarts and retries, and the store catches up.
_SETTLE_S: Final = 180.0
_LOOK_EVERY_S: Final = 3.0
_TELL_EVERY_S: Final = 30.0


@dataclass(frozen=True)
class Outcome:
    """What came of it. Seconds: `traffic_s` under blows, `settle_s` behind the last one."""

    seed: int
    verdicts: list[Verdict]
    facts: Facts
    traffic: Traffic
    blows: Blows
    traffic_s: float
    settle_s: float

    @property
    def is_kept(self) -> bool:
        """Whether the promise held."""
        return not any(verdict.broken for verdict in self.verdicts)


@contextlib.asynccontextmanager
async def pipeline(folder: Path, *more: str, environ: Mapping[str, str] = SETTINGS) -> AsyncIterator[Pipeline]:
    """A running `parley up` with several gateways, workers and delivery nodes."""
    running = await asyncio.to_thread(lambda: start(folder / "data", *UP, *more, environ=environ))
    try:
        yield running
    finally:
        await asyncio.to_thread(running.parley, "down")


def keys(running: Pipeline) -> dict[str, str]:
    """A key for each tenant."""
    return {
        tenant: running.parley("key", "create", "--tenant", tenant, "--tier", "standard").strip() for tenant in TENANTS
    }


async def run(
    running: Pipeline,
    seed: int,
    scale: Scale,
    *,
    blows: int | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Outcome:
    """Send all turns of the plan under blows, let what is open end, and audit.

    Args:
        blows: how many at the most; None = until the traffic ends.
        say: told now and then how far it is.
    """
    traffic = Traffic(running, await asyncio.to_thread(keys, running), seed)
    dealing = Blows(running, kills(seed), blows)
    begun_s = time.monotonic()
    striking = asyncio.create_task(dealing.run())
    telling = asyncio.create_task(_tell(traffic, dealing, say))
    try:
        await traffic.run(conversations(seed, scale), side_by_side=scale.side_by_side)
        if blows is not None:
            await striking
    finally:
        telling.cancel()
        striking.cancel()
        await asyncio.wait({striking})
        await dealing.wake_all()
    if not striking.cancelled():
        striking.result()
    ended_s = time.monotonic()
    facts = await _settled(running, traffic)
    verdicts = audit.audit(facts, traffic)
    return Outcome(
        seed=seed,
        verdicts=verdicts,
        facts=facts,
        traffic=traffic,
        blows=dealing,
        traffic_s=ended_s - begun_s,
        settle_s=time.monotonic() - ended_s,
    )


async def _tell(traffic: Traffic, dealing: Blows, say: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(_TELL_EVERY_S)
        say(f"{len(traffic.told)} turns have ended for their clients, {len(dealing.dealt)} blows")


async def _settled(running: Pipeline, traffic: Traffic) -> Facts:
    """The facts once nothing is open any more, or as they are when that takes too long."""
    newest = Facts()

    async def is_quiet() -> bool:
        nonlocal newest
        try:
            newest = await audit.gather(running)
        except Exception:  # noqa: BLE001 - a broker that was killed last is still on its way back
            return False
        return not newest.open_turns(traffic)

    with contextlib.suppress(TimeoutError):
        await until(is_quiet, limit_s=_SETTLE_S, every_s=_LOOK_EVERY_S)
    return newest
