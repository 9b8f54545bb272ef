"""Whoever asks: requests as moderation passes them on, stops, resets, a delete, and the clock."""

from typing import TYPE_CHECKING, Final

from schemas import ids, instants, topics
from schemas.ids import TurnId
from schemas.records import (
    ClockTicked,
    ConversationDeleted,
    ConversationReset,
    TurnAllowed,
    TurnRefused,
    TurnStopRequested,
)
from schemas.turns import Action, Stage, TurnRequest, Verdict
from tests.simulation.gate import CONVERSATION, GROUP, LOG
from tests.simulation.scope import SILENCE

if TYPE_CHECKING:
    from tests.simulation.world import World

Step = tuple[str, str, str]

TENANT: Final = "acme"
DEADLINE_MS: Final = 600_000
# Longer than clocks may differ; longer than deadline and patience; longer than the gate remembers; long enough to be
# retired, and then for all to have heard.
_TICKS: Final = {"tick": 6_000, "deadline": DEADLINE_MS + 40_000, "hour": 3_700_000, SILENCE: 1_900_000}
_ALLOWED: Final = Verdict(stage=Stage.INPUT, action=Action.ALLOW)
_REFUSED: Final = Verdict(stage=Stage.INPUT, action=Action.REFUSE, sentence="no")


def turn_of(number: int) -> TurnId:
    """The turn of the wish with this number: T1 is the first."""
    return ids.turn_id(CONVERSATION, f"{number + 1:032x}")


class People:
    """See the module."""

    name = "user"

    def __init__(self, world: "World") -> None:
        self._world = world
        self.asked: list[TurnAllowed | TurnRefused] = []

    def steps(self) -> list[Step]:
        """What anybody may ask for next."""
        budget, name = self._world.budget, self.name
        found: list[Step] = []
        if len(self.asked) < len(self._world.scope.wishes):
            found.append((name, "asks", f"T{len(self.asked) + 1}"))
        if not self._world.is_wild:
            return found
        turns = [f"T{number + 1}" for number in range(len(self._world.scope.wishes))]
        if budget.get("stop"):
            found += [(name, "stops", turn) for turn in turns]
        if budget.get("stop any"):
            found.append((name, "stops", "any"))
        if budget.get("again"):
            # When the gate has forgotten a turn the gateway finds its row, and answers the repeat from it.
            rows = self._world.store.rows if self._world.spent.get("hour") else {}
            found += [
                (name, "asks again", turn)
                for number, turn in enumerate(turns[: len(self.asked)])
                if turn_of(number) not in rows
            ]
        if self.asked:
            found += [(name, f"{wish}s", "") for wish in ("reset", "delete") if budget.get(wish)]
        found += [(name, "waits", kind) for kind in _TICKS if budget.get(kind) and self._may_wait(kind)]
        if budget.get("prefer"):
            found.append((name, "prefers", "b"))
        return found

    def _may_wait(self, kind: str) -> bool:
        """It is only silent where nobody has something to read: half an hour is longer than any gate is behind."""
        owner = self._world.broker.groups[GROUP].owner
        zombies = (gate for gate in self._world.gates if gate.name != owner and not gate.is_revoked)
        if kind in ("hour", SILENCE) and not all(gate.has_caught_up for gate in zombies):
            return False  # retirement excludes by time alone who is so far behind: see DESIGN.md, "The simulation"
        return kind != SILENCE or (owner is not None and self._world.gate(owner).has_caught_up)

    def do(self, verb: str, what: str) -> None:
        """Carry one of `steps` out."""
        world, append = self._world, self._world.broker.append
        match verb:
            case "asks":
                self.asked.append(self._request(len(self.asked)))
                append(topics.MODERATED, self.asked[-1])
            case "asks again":
                world.spend("again")
                append(topics.MODERATED, self.asked[int(what[1:]) - 1])
            case "stops":
                world.spend("stop any" if what == "any" else "stop")
                turn = None if what == "any" else turn_of(int(what[1:]) - 1)
                append(
                    topics.CONTROL,
                    TurnStopRequested(
                        id=f"stop.{world.now_ms}", at=world.at, tenant=TENANT, conversation=CONVERSATION, turn=turn
                    ),
                )
            case "resets" | "deletes":
                world.spend(verb[:-1])
                kind = ConversationReset if verb == "resets" else ConversationDeleted
                append(
                    topics.MODERATED,
                    kind(
                        id=f"{verb}.{world.now_ms}", at=world.at, tenant=TENANT, conversation=CONVERSATION, user="u",
                        log=LOG,
                    ),
                )  # fmt: skip
            case "waits":
                world.spend(what)
                self.waits(_TICKS[what])
            case _:
                world.spend("prefer")
                world.preferred = what

    def waits(self, by_ms: int) -> None:
        """Time passes, and the gate is told."""
        world = self._world
        world.now_ms += by_ms
        world.broker.append(topics.CONTROL, ClockTicked(id=f"tick.{world.now_ms}", at=world.at))

    def _request(self, number: int) -> TurnAllowed | TurnRefused:
        world, wish, turn = self._world, self._world.scope.wishes[number], turn_of(number)
        request = TurnRequest(
            user="u",
            key_id="k",
            tier="t",
            text=f"say {number + 1}",
            log=LOG,
            accepted_at=world.at,
            deadline_at=instants.from_ms(world.now_ms + DEADLINE_MS),
            new=wish.is_new,
            stored=True,
            on_busy=wish.on_busy,
        )
        return (TurnRefused if wish.is_refused else TurnAllowed)(
            id=f"{turn}.moderated",
            at=world.at,
            tenant=TENANT,
            conversation=CONVERSATION,
            turn=turn,
            request=request,
            verdict=_REFUSED if wish.is_refused else _ALLOWED,
        )
