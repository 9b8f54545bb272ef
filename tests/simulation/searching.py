"""Many runs: what they did, and what broke in them."""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from multiprocessing import get_context

from tests.simulation.promise import Broken
from tests.simulation.schedule import Outcome, run, shortened, told
from tests.simulation.scope import Scope, drawn

_CHUNK = 2_000


@dataclass(slots=True)
class Tally:
    """What runs did.

    Args:
        schedules: a digest of each, to tell how many were alike.
        spent: how often each fault happened, and each wish that isn't a turn.
        attempts: how many claims were taken in a run, and in how many runs.
        breaks: seeds and what broke under them.
    """

    runs: int = 0
    steps: int = 0
    schedules: set[bytes] = field(default_factory=set)
    spent: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    breaks: list[tuple[int, str]] = field(default_factory=list)

    def count(self, seed: int, scope: Scope, outcome: Outcome) -> None:
        """One more run."""
        self.runs += 1
        self.steps += len(outcome.steps)
        told_whole = f"{scope.wishes}{scope.pools}{scope.gates}{scope.pieces}{outcome.steps}"
        self.schedules.add(blake2b(told_whole.encode(), digest_size=8).digest())
        self.spent.update(outcome.world.spent)
        self.attempts[outcome.world.watch.attempts] += 1
        if outcome.broken is not None:
            self.breaks.append((seed, str(outcome.broken)))

    def add(self, other: "Tally") -> None:
        """Those of another as well."""
        self.runs += other.runs
        self.steps += other.steps
        self.schedules |= other.schedules
        self.spent += other.spent
        self.attempts += other.attempts
        self.breaks += other.breaks

    def told(self, seconds: float) -> str:
        """All of it in a few lines."""
        spent = ", ".join(f"{kind} {count}" for kind, count in sorted(self.spent.items()))
        attempts = ", ".join(f"{number}: {count}" for number, count in sorted(self.attempts.items()))
        return (
            f"{self.runs} runs, {self.steps} steps, {len(self.schedules)} distinct schedules, {seconds:.0f} s\n"
            f"faults and wishes: {spent}\nruns by claims taken: {attempts}\nbreaks: {len(self.breaks)}"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """The product's log lines would tell of every fault."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def at_random(seed: int) -> tuple[Scope, Outcome]:
    """The run of this seed, its scope included."""
    chance = random.Random(seed)
    scope = drawn(chance)
    return scope, run(scope, chance)


def chunk(seeds: range) -> Tally:
    """The runs of these seeds."""
    tally = Tally()
    with quiet():
        for seed in seeds:
            tally.count(seed, *at_random(seed))
    return tally


def search(runs: int, seed: int, jobs: int, on_progress: Callable[[Tally, Tally, float], None]) -> Tally:
    """So many runs from this seed on, over so many processes.

    Args:
        on_progress: called with what was done so far, what is new in it, and the seconds that all of it took.
    """
    began, tally = time.monotonic(), Tally()
    chunks = [range(first, min(first + _CHUNK, seed + runs)) for first in range(seed, seed + runs, _CHUNK)]
    for found in _done(chunks, jobs):
        tally.add(found)
        on_progress(tally, found, time.monotonic() - began)
    return tally


def _done(chunks: Iterable[range], jobs: int) -> Iterator[Tally]:
    if jobs == 1:
        yield from map(chunk, chunks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(chunk, chunks)


@dataclass(frozen=True, slots=True)
class Found:
    """A run that breaks something.

    Args:
        runs: how many it took to find.
    """

    runs: int
    seed: int
    scope: Scope
    outcome: Outcome

    def told(self) -> str:
        """The shortest run that breaks it likewise, step by step, with the seed that repeats the whole."""
        short = shortened(self.scope, self.outcome)
        return f"seed {self.seed}: {self.outcome.broken}\n{self.scope}\n{told(short.steps)}\n=> {short.broken}"


def find(
    breaks: Callable[[Broken], bool], *, suits: Callable[[Scope], bool] = lambda _scope: True, most: int, seed: int = 0
) -> Found | None:
    """The first run that breaks something of that kind; None after `most` runs in scopes that suit."""
    with quiet():
        suitable = (
            (at, scope, chance)
            for at, chance in ((at, random.Random(at)) for at in range(seed, seed + 1000 * most))
            if suits(scope := drawn(chance))
        )
        for number, (at, scope, chance) in enumerate(islice(suitable, most), 1):
            outcome = run(scope, chance)
            if outcome.broken is not None and breaks(outcome.broken):
                return Found(number, at, scope, outcome)
    return None
