"""Runs: a schedule drawn at random or read from a list, told step by step, repeated, and made short when it breaks."""

import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas import topics
from schemas.errors import ContractError, InvariantBroken
from tests.simulation.gate import LANE, LOG
from tests.simulation.promise import Broken
from tests.simulation.readers import look_back
from tests.simulation.scope import Scope
from tests.simulation.world import Step, World

# Longer than any fair run that gets there: an endless one is a livelock.
_MOST_FAIR_STEPS: Final = 1500
# Nobody needs more claims than that under the faults of one run.
_MOST_ATTEMPTS: Final = 24
_MOST_TRIES: Final = 600
_AGAIN_MS: Final = 31_000
# How schedules name what has longer names.
_NAMES: Final = {
    LOG.topic: "log",
    LANE.topic: "lane",
    topics.GATE_CHANGELOG: "states",
    topics.CONTEXT_CHANGELOG: "contexts",
}
_SPEEDS: Final = (0.05, 0.3, 1.0, 1.0, 1.0, 4.0)
_FAULT_SPEEDS: Final = (0.1, 0.2, 0.4)
# So many are asked in their turn; if none of them has anything to do, whoever has is next.
_PICKS: Final = 3


@dataclass(slots=True)
class Outcome:
    """What came of one run.

    Args:
        steps: all that were taken, faults among them.
        broken: the property that did not hold; None for a clean run.
    """

    world: World
    steps: list[Step]
    broken: Broken | None = None


def run(scope: Scope, chance: random.Random) -> Outcome:
    """A run in which faults happen for a while and then stop, and everybody goes on until nothing is left to do."""
    world, taken = World(scope), list[Step]()
    return _carry(world, taken, lambda: _wild(world, taken, chance), chance)


def repeat(scope: Scope, steps: Sequence[Step], *, strictly: bool = False) -> Outcome:
    """The run of these steps; those that can't be taken when their turn comes are left out. Then all go on, fairly.

    Args:
        strictly: a step that can't be taken fails the test that wrote it.
    """
    world, taken = World(scope), list[Step]()

    def replay() -> None:
        for step in steps:
            if world.can(step):
                _take(world, taken, step)
            elif strictly:
                there = told(step for actor in world.actors.values() for step in actor.steps())
                raise AssertionError(f"{line(step)!r} can't be taken behind\n{told(taken)}\npossible:\n{there}")

    return _carry(world, taken, replay, random.Random(0))


def shortened(scope: Scope, outcome: Outcome) -> Outcome:
    """A run that breaks the same property with as few steps as leaving out can reach in a bounded number of tries."""
    if outcome.broken is None:
        return outcome
    tries = _MOST_TRIES
    name, best = outcome.broken.name, outcome
    size = max(1, len(best.steps) // 2)
    while True:
        at, is_shorter = 0, False
        while at < len(best.steps) and tries:
            tries -= 1
            found = repeat(scope, best.steps[:at] + best.steps[at + size :])
            # The fair end of a run is taken anew each time, so only what precedes the break counts.
            if found.broken is not None and found.broken.name == name and len(found.steps) < len(best.steps):
                best, is_shorter = found, True
            else:
                at += size
        if not tries or (size == 1 and not is_shorter):
            return best
        size = max(1, size // 2)


def line(step: Step) -> str:
    """A step as a person reads it."""
    text = " | ".join(part for part in step if part)
    for topic, name in _NAMES.items():
        text = text.replace(topic, name)
    return text


def told(steps: Iterable[Step]) -> str:
    """Steps as lines."""
    return "\n".join(map(line, steps))


def read(text: str) -> list[Step]:
    """The steps that `told` has told; empty lines and what follows a `#` are a reader's."""
    found: list[Step] = []
    for each in text.splitlines():
        words = each.partition("#")[0].strip()
        for topic, name in _NAMES.items():
            words = re.sub(rf"\b{name}\b", topic, words)
        parts = [part.strip() for part in words.split("|")] if words else []
        if parts:
            found.append((parts[0], parts[1], parts[2] if len(parts) > 2 else ""))
    return found


def _carry(world: World, taken: list[Step], wild: Callable[[], None], chance: random.Random) -> Outcome:
    broken: Broken | None = None
    try:
        wild()
        world.is_wild = False
        _settle(world, taken, chance)
        look_back(world, chance)
    except Broken as found:
        broken = found
    except (InvariantBroken, ContractError, AssertionError) as found:
        broken = Broken("invariant", f"{type(found).__name__}: {found}")
    finally:
        world.close()
    return Outcome(world, taken, broken)


def _take(world: World, taken: list[Step], step: Step) -> None:
    taken.append(step)
    world.do(step)


def _wild(world: World, taken: list[Step], chance: random.Random) -> None:
    """Each process at its own speed, some of them all but frozen, and faults among their steps."""
    actors = list(world.actors.values())
    speeds = [chance.choice(_SPEEDS) for _ in actors]
    speeds[-1] = chance.choice(_FAULT_SPEEDS)
    most = world.scope.wild_steps
    look_at = chance.randrange(most)
    picks = chance.choices(actors, speeds, k=_PICKS * most)
    for number in range(most):
        asked = picks[_PICKS * number : _PICKS * (number + 1)]
        steps = next((steps for steps in (actor.steps() for actor in asked) if steps), None)
        if steps is None:
            chance.shuffle(actors)
            steps = next((steps for steps in (actor.steps() for actor in actors) if steps), None)
        if steps is None:
            return
        _take(world, taken, chance.choice(steps))
        if number == look_at:
            look_back(world, chance)


def _settle(world: World, taken: list[Step], chance: random.Random) -> None:
    """No more faults: everybody goes on until nobody has anything to do, and then the goal must be reached."""
    most = len(taken) + _MOST_FAIR_STEPS
    patience = 6 if world.needs_clock else 0
    actors = [actor for actor in world.actors.values() if actor is not world.faults]
    while True:
        while True:
            chance.shuffle(actors)
            steps = next((steps for steps in (actor.steps() for actor in actors) if steps), None)
            if steps is None:
                break
            _take(world, taken, chance.choice(steps))
            if len(taken) > most or world.watch.attempts > _MOST_ATTEMPTS:
                raise Broken("reached", f"no end after {len(taken)} steps and {world.watch.attempts} attempts")
        missing = world.missing()
        if not missing:
            return
        if not patience:
            raise Broken("reached", "; ".join(missing))
        patience -= 1
        world.people.waits(_AGAIN_MS)
