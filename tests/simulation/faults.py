"""What goes wrong, while there is a budget for it: deaths, freezes, lost groups, appends that fail or land late."""

from typing import TYPE_CHECKING, Final

from schemas.topics import CLOSING_POOL
from tests.simulation.facts import POOLS
from tests.simulation.gate import GROUP, TABLES

if TYPE_CHECKING:
    from tests.simulation.world import World

Step = tuple[str, str, str]

_APPENDS: Final = {"lost": "loses", "late": "delays", "unheard": "unhears", "twice": "doubles"}
_HOW: Final = {verb: how for how, verb in _APPENDS.items()}


class Faults:
    """See the module."""

    name = "fault"

    def __init__(self, world: "World") -> None:
        self._world = world

    def steps(self) -> list[Step]:
        """Whatever may go wrong now."""
        world, budget, name = self._world, self._world.budget, self.name
        found: list[Step] = []
        for worker in world.workers:
            if not worker.is_up:
                continue
            if budget.get("crash"):
                found.append((name, "kills", worker.name))
            if budget.get("freeze") and worker.name in worker.group.members:
                found.append((name, "expels", worker.name))
            holding = worker.intake._holdings.partitions.get(0)
            if budget.get("engine") and worker.courses and holding is not None and holding.ledger is not None:
                found.append((name, "restarts the engine of", worker.name))
            if budget.get("hand over") and not worker.is_draining:
                found.append((name, "drains", worker.name))
            if budget.get("give back") and worker.pool != CLOSING_POOL:
                waiting = [offset for offset, course in worker.courses.items() if course.run.verb == "begins"]
                found += [(name, "crowds out", f"{worker.name} {offset}") for offset in waiting]
        if budget.get("group"):
            for pool in (*POOLS, CLOSING_POOL):
                if world.broker.groups[pool].members:
                    found += [(name, "loses the group", pool), (name, "loses the group and its commits", pool)]
        for gate in world.gates:
            if gate.is_up and budget.get("gate crash"):
                found += [(name, "kills", gate.name), (name, "burns", gate.name)]
            if gate.is_up and budget.get("gate freeze") and gate.name in world.broker.groups[GROUP].members:
                found.append((name, "expels", gate.name))
        for kind, verb in _APPENDS.items():
            if budget.get(kind):
                flights = [key for key, queue in world.broker.flights.items() if queue and key[1] not in TABLES]
                found += [(name, verb, f"{sender} {topic}") for sender, topic in flights]
        return found

    def do(self, verb: str, what: str) -> None:
        """Carry one of `steps` out."""
        world = self._world
        first, _, second = what.partition(" ")
        match verb:
            case "kills" | "burns" if first[0] == "g":
                world.spend("gate crash")
                self._lose_gate(first)
                world.gate(first).crash(loses_disk=verb == "burns")
            case "kills":
                world.spend("crash")
                world.worker(first).crash()
            case "expels" if first[0] == "g":
                world.spend("gate freeze")
                world.watch.had_zombie_gate = True
                self._lose_gate(first)
            case "expels":
                world.spend("freeze")
                world.worker(first).expel()
            case "restarts the engine of":
                world.spend("engine")
                world.worker(first).restart_engine()
            case "drains":
                world.spend("hand over")
                world.worker(first).hand_over()
            case "crowds out":
                world.spend("give back")
                world.worker(first).courses[int(second)].gives_back()
            case "loses the group" | "loses the group and its commits":
                world.spend("group")
                world.broker.groups[what].begins_again(keeps_commits=verb == "loses the group")
            case "doubles":
                world.spend("twice")
                world.broker.lands_twice(first, second)
            case _:
                world.spend(_HOW[verb])
                world.broker.fails(first, second, _HOW[verb])

    def _lose_gate(self, name: str) -> None:
        group = self._world.broker.groups[GROUP]
        if name in group.members:
            group.loses(name)


class Late:
    """Appends whose senders are gone or have given them up."""

    name = "late"

    def __init__(self, world: "World") -> None:
        self._broker = world.broker

    def steps(self) -> list[Step]:
        """Each of them may land, or never will."""
        found = [(self.name, "lands", key) for key in self._broker.late]
        return found + [(self.name, "vanishes", key) for key in self._broker.late]

    def do(self, verb: str, what: str) -> None:
        """Carry one of `steps` out."""
        if verb == "lands":
            self._broker.lands_late(what)
        else:
            self._broker.vanishes(what)
