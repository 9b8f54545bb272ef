"""Kills and freezes real processes of a running `parley up`, as the plan says, and tells what it did."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.plan import KillPlan, Tier
from tests.support.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Blow:
    """One that was dealt. `at_s`: on the clock of the run."""

    at_s: float
    name: str
    freeze_s: float | None

    def __str__(self) -> str:
        kind = "SIGKILL" if self.freeze_s is None else f"SIGSTOP for {self.freeze_s:.1f} s"
        return f"{self.at_s:7.1f} s  {self.name}: {kind}"


@dataclass
class Blows:
    """Deals the blows of a plan until it is stopped.

    Args:
        most: of them; None = for as long as it runs.
    """

    pipeline: Pipeline
    plan: Iterator[KillPlan]
    most: int | None = None
    dealt: list[Blow] = field(default_factory=list)
    killed: Counter[Tier] = field(default_factory=Counter)
    frozen: Counter[Tier] = field(default_factory=Counter)
    _begun_s: float = field(default_factory=time.monotonic)
    _asleep: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    async def run(self) -> None:
        """Deal them, one after the other; ends at `most`."""
        for blow in self.plan:
            if self.most is not None and len(self.dealt) >= self.most:
                return
            await asyncio.sleep(blow.wait_s)
            victim = await self._victim(blow)
            if victim is not None:
                self._deal(blow, victim)

    async def wake_all(self) -> None:
        """Whoever is frozen goes on."""
        for task in tuple(self._asleep.values()):
            task.cancel()
        if self._asleep:
            await asyncio.wait(set(self._asleep.values()))

    async def _victim(self, blow: KillPlan) -> dict[str, Any] | None:
        """A process of the tier that runs and isn't frozen; None while there is none."""
        processes = await asyncio.to_thread(self.pipeline.processes)
        able = [
            each
            for each in processes
            if each["role"] == blow.tier.value and each["pid"] is not None and each["pid"] not in self._asleep
        ]
        return able[int(blow.pick * len(able))] if able else None

    def _deal(self, blow: KillPlan, victim: dict[str, Any]) -> None:
        pid: int = victim["pid"]
        with suppress(ProcessLookupError):
            if blow.freeze_s is None:
                os.kill(pid, signal.SIGKILL)
                self.killed[blow.tier] += 1
            else:
                os.kill(pid, signal.SIGSTOP)
                self.frozen[blow.tier] += 1
                self._asleep[pid] = asyncio.create_task(self._thaw(pid, blow.freeze_s))
            self.dealt.append(Blow(time.monotonic() - self._begun_s, victim["name"], blow.freeze_s))

    async def _thaw(self, pid: int, after_s: float) -> None:
        try:
            await asyncio.sleep(after_s)
        finally:
            # Nobody reaps a pid of `up` but `up`: while it is frozen it is still its own.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            self._asleep.pop(pid, None)
