"""One conversation and all who work on it: who may do what next, and whether the goal is reached."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

from schemas import instants, topics
from schemas.ids import TurnId
from schemas.topics import CLOSING_POOL
from stream_processors.routing.fleet import Fleet
from tests.simulation import facts
from tests.simulation.broker import Broker, Group, kept
from tests.simulation.facts import POOLS
from tests.simulation.faults import Faults, Late
from tests.simulation.gate import GROUP, INPUTS, LANE, LOG, GateProcess
from tests.simulation.people import People
from tests.simulation.promise import Promise
from tests.simulation.scope import Scope
from tests.simulation.store import Store
from tests.simulation.worker import Worker

Step = tuple[str, str, str]
"""Who does what, and to which."""

_BEGAN_MS = 1_767_225_600_000  # any instant: 2026-01-01
# Every run begins at the same instant: its milliseconds are spelled again and again.
_instant = lru_cache(maxsize=4096)(instants.from_ms)


class Actor(Protocol):
    """Whoever takes steps."""

    name: str

    def steps(self) -> list[Step]:
        """All that it can do next."""
        ...

    def do(self, verb: str, what: str) -> None:
        """Carry one of them out."""
        ...


class World:
    """See the module.

    Args:
        is_wild: faults may happen, and people may change their minds.
        needs_clock: a gate died that had asked the store, or while it carried a tick out: only the clock says it again.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.budget = dict(scope.budget)
        self.spent: dict[str, int] = {}
        self.is_wild = True
        self.needs_clock = False
        self.now_ms = _BEGAN_MS
        self.preferred = POOLS[0]
        self.watch = Promise(LOG, LANE)
        self.broker = Broker(self.watch)
        self.broker.groups = {pool: Group(topics.inference_topic(pool).name) for pool in (*POOLS, CLOSING_POOL)}
        self.broker.groups[GROUP] = Group(GROUP)
        self.store = Store(self)
        self.people = People(self)
        self.workers = [Worker(self, f"w{number}", pool) for number, pool in enumerate(scope.pools)]
        self.gates = [GateProcess(self, f"g{number}") for number in range(scope.gates)]
        self.faults = Faults(self)
        self.late = Late(self)
        actors: list[Actor] = [self.people, *self.workers, *self.gates, self.store, self.late, self.faults]
        self.actors: Mapping[str, Actor] = {actor.name: actor for actor in actors}
        self._begin()

    def _begin(self) -> None:
        """Everybody has joined and is at work."""
        for worker in self.workers:
            worker.joins(takes=False)
        for worker in self.workers:
            worker.do("is assigned", "")
            if worker.group.owner == worker.name:
                worker.do("opens", "")
        for gate in self.gates:
            gate.do("joins", "")
        for gate in self.gates:
            gate.opens()

    # --- what actors ask ----------------------------------------------------------------------------------------------

    @property
    def at(self) -> str:
        """The instant now."""
        return _instant(self.now_ms)

    def spend(self, kind: str) -> None:
        """One of these has happened."""
        self.budget[kind] -= 1
        self.spent[kind] = self.spent.get(kind, 0) + 1

    def worker(self, name: str) -> Worker:
        """The worker of this name."""
        return self.workers[int(name[1:])]

    def gate(self, name: str) -> GateProcess:
        """The gate of this name."""
        return self.gates[int(name[1:])]

    def fleet(self) -> Fleet:
        """The fleet as workers report it."""
        alive = tuple(pool for pool in (*POOLS, CLOSING_POOL) if self.broker.groups[pool].members)
        return facts.fleet(alive, self.preferred)

    # --- taking steps -------------------------------------------------------------------------------------------------

    def do(self, step: Step) -> None:
        """Take one step. Raises Broken when the promise breaks in it."""
        actor, verb, what = step
        self.now_ms += 1
        self.actors[actor].do(verb, what)

    def can(self, step: Step) -> bool:
        """Whether this step can be taken now."""
        actor = self.actors.get(step[0])
        return actor is not None and step in actor.steps()

    def close(self) -> None:
        """Nobody goes on: what is under way is dropped here, not wherever its rubbish is collected."""
        for worker in self.workers:
            worker.close()
        for gate in self.gates:
            gate.close()

    # --- the goal -----------------------------------------------------------------------------------------------------

    def missing(self) -> list[str]:
        """What is not as it should be once nobody has anything to do."""
        found = self.watch.missing()
        for pool in (*POOLS, CLOSING_POOL):
            group = self.broker.groups[pool]
            commit, end = kept(group), len(self.broker.log(group.topic))
            if end and (commit is None or commit.offset < end):
                found.append(f"{group.topic} is committed up to {commit and commit.offset} of {end}")
        return found + self._gate_missing() + self._store_missing()

    def _gate_missing(self) -> list[str]:
        group = self.broker.groups[GROUP]
        owner = group.owner
        if owner is None:
            return ["nobody is the gate"]
        ends = {topic: len(self.broker.log(topic)) for topic in INPUTS}
        found = [
            f"{topic} is committed by the gate up to {group.commits.get(topic, 0)} of {end}"
            for topic, end in ends.items()
            if group.commits.get(topic, 0) < end
        ]
        state = self.gate(owner).gate.state()
        if state is not None and state.turns:
            found.append(f"the gate holds {[(turn.turn[-1], turn.status.name) for turn in state.turns]}")
        return found

    def _store_missing(self) -> list[str]:
        rows = set(self.store.rows)
        ended = {turn for turn, fold in self.watch.turns.items() if fold.ended is not None}
        expected = set[TurnId]() if self.watch.is_deleted else ended
        return [f"rows of {sorted(rows)}, ended {sorted(expected)}"] if rows != expected else []
