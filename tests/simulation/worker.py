"""One worker process: the product's intake, ledger and commits around courses that are carried on step by step."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from inference_consumers.intake.group_member import Fetched
from inference_consumers.intake.kafka_intake import KafkaIntake
from inference_consumers.intake.ledger import Commit
from inference_consumers.intake.port import Arrival
from inference_consumers.publishing.kafka_turn_log import KafkaOutlet
from schemas import topics
from schemas.errors import KafkaUnavailable
from schemas.ids import TurnId
from schemas.records import Record, TurnStopRequested
from tests.simulation.broker import Broker, Group, kept
from tests.simulation.course import Course
from tests.simulation.stepping import Ack, Pause, Run, at_once

if TYPE_CHECKING:
    from tests.simulation.world import World

Step = tuple[str, str, str]
_ROOM: Final = 8


class Member:
    """See `GroupMember`: one member of a pool's group, as the intake speaks to it."""

    is_broken = False

    def __init__(self, worker: "Worker", group: Group) -> None:
        self._worker = worker
        self._group = group
        self.generation = 0
        self.position: int | None = None

    async def committed(self, partitions: Iterable[int]) -> dict[int, Commit]:
        """What the group holds."""
        found = kept(self._group)
        return {} if found is None else dict.fromkeys(partitions, found)

    async def commit(self, commits: Mapping[int, Commit], generation: int) -> bool:
        """Refused under another generation."""
        if not self._group.counts_in(self._worker.name, generation):
            return False
        for commit in commits.values():
            self._worker.world.watch.committed(self._group.topic, commit)
            self._group.commits[self._group.topic] = commit
        return True

    async def is_member(self) -> bool:
        """Whether the group counts us in."""
        if self._worker.name not in self._group.members:
            return False
        if self.generation != self._group.generation:
            raise KafkaUnavailable("rebalancing")
        return True

    async def poll(self, most: int, _timeout_s: float) -> list[Fetched]:
        """What was there when it was asked for: a rebalance may come before it is handed over."""
        here = self.position
        if here is None:
            return []
        values = self._worker.world.broker.values(self._group.topic)[here : here + most]
        self.position = here + len(values)
        if self._worker.world.scope.fetches_late:
            await Pause("takes in")
        return [Fetched(0, here + at, value) for at, value in enumerate(values)]

    def begin(self, _partition: int, offset: int) -> None:
        """Read on from there."""
        self.position = offset

    def pause(self, _partition: int) -> None:
        """Read nothing until `begin`."""
        self.position = None

    def check(self) -> None:
        """Nothing goes wrong behind the worker's back."""


class Appends:
    """See `Appender`, of one process; verdicts, which nothing here depends on, are taken for granted."""

    def __init__(self, broker: Broker, sender: str) -> None:
        self._broker = broker
        self._sender = sender

    async def send(self, topic: str, record: Record, *, trace: str | None = None) -> Ack:
        """Enqueue the record."""
        if topic == topics.VERDICTS:
            ack = Ack()
            ack.set_result(None)
            return ack
        return self._broker.send(self._sender, topic, record)

    async def append(self, topic: str, record: Record, *, trace: str | None = None) -> object:
        """Enqueue the record and wait."""
        return await (await self.send(topic, record))


class Worker:
    """See the module, and `intake.port.Taker`.

    Args:
        pool: whose group it joins.
    """

    def __init__(self, world: "World", name: str, pool: str) -> None:
        self.world = world
        self.name = name
        self.pool = pool
        self.group = world.broker.groups[pool]
        self.claims = 0
        self.outlet = KafkaOutlet(cast("Any", Appends(world.broker, name)))
        self.is_up = True
        self._boot()

    def _boot(self) -> None:
        self.is_draining = False
        self.heard = 0
        self.stopped: set[TurnId] = set()
        self.courses: dict[int, Course] = {}
        self._fetch: Run[None] | None = None
        self._new_intake()
        self.hears()

    def _new_intake(self) -> None:
        self.member = Member(self, self.group)
        self.intake = KafkaIntake(cast("Any", None), self.pool, cast("Any", None), self, cast("Any", self))
        self.intake._member = cast("Any", self.member)

    # --- what the scheduler asks --------------------------------------------------------------------------------------

    def steps(self) -> list[Step]:
        """All that this process can do next, faults apart."""
        name = self.name
        if not self.is_up:
            return [(name, "starts", "")]
        broker, holdings = self.world.broker, self.intake._holdings
        found: list[Step] = [(name, "lands", topic) for topic in broker.flying(name)]
        if name not in self.group.members:
            if self.member.generation:
                found.append((name, "learns that it is expelled", ""))
            elif not self.is_draining:
                found.append((name, "joins", "keeps"))
                if self.group.owner is not None and self.world.is_wild:
                    found.append((name, "joins", "takes"))
        elif self.member.generation != self.group.generation:
            found.append((name, "is assigned", ""))
        holding = holdings.partitions.get(0)
        if holding is not None:
            if holding.ledger is None:
                found.append((name, "opens", ""))
            elif self._fetch is not None:
                found.append((name, "takes in", ""))
            elif not self.is_draining:
                here = self.member.position
                if here is not None and here < len(broker.log(self.group.topic)):
                    found.append((name, "fetches", ""))
            if self.intake._has_finished.is_set() and holdings.is_stable:
                found.append((name, "commits", ""))
        if self.heard < len(broker.log(topics.CONTROL)):
            found.append((name, "hears", ""))
        for offset, course in self.courses.items():
            verb = course.run.verb
            if verb is not None and not (self.is_draining and verb == "begins"):
                found.append((name, verb, str(offset)))
        if self.is_draining and all(each.run.verb == "begins" for each in self.courses.values()):
            found.append((name, "leaves", ""))
        return found

    def do(self, verb: str, what: str) -> None:
        """Carry one of `steps` out."""
        match verb:
            case "lands":
                self.world.broker.lands(self.name, what)
            case "starts":
                self.is_up = True
                self.hears()
            case "learns that it is expelled":
                self.member.generation = 0
                at_once(self.intake._on_revoked(-1))
            case "joins":
                self.joins(takes=what == "takes")
            case "is assigned":
                self._is_assigned()
            case "opens":
                at_once(self.intake._open(cast("Any", self.member)))
            case "fetches":
                self._fetch = Run(self.intake._take_some(cast("Any", self.member)), self._fetched)
                self._fetch.go()
            case "takes in":
                if self._fetch is not None:
                    self._fetch.go()
            case "commits":
                self.intake._has_finished.clear()
                at_once(self.intake._commit_once(cast("Any", self.member)))
            case "hears":
                self.hears()
            case "leaves":
                self._leave()
            case _:
                self.courses[int(what)].run.go()

    @property
    def is_idle(self) -> bool:
        """Nothing is under way."""
        return not self.courses

    # --- the group ----------------------------------------------------------------------------------------------------

    def joins(self, *, takes: bool) -> None:
        """The group counts it in; the others hear of it when they hear of it."""
        self.group.members.append(self.name)
        self.group.moves(self.name if takes or self.group.owner is None else self.group.owner)

    def _is_assigned(self) -> None:
        """A rebalance has ended for this member: what began it and what it brought, as aiokafka tells them."""
        at_once(self.intake._on_revoked(self.member.generation))
        self.member.generation = self.group.generation
        assigned = frozenset((0,)) if self.group.owner == self.name else frozenset[int]()
        positions = at_once(self.intake._on_assigned(self.group.generation, assigned))
        self.member.position = positions.get(0)

    async def bounds(self, _topic: str, _partition: int) -> tuple[int, int]:
        """See `LogReader.bounds`, of the pool's topic."""
        return 0, len(self.world.broker.log(self.group.topic))

    def _fetched(self, _none: None) -> None:
        self._fetch = None

    def crash(self) -> None:
        """The process is gone; its group notices."""
        self.close()
        self.world.broker.orphan(self.name)
        self.is_up = False
        if self.name in self.group.members:
            self.group.loses(self.name)
        self._boot()

    def expel(self) -> None:
        """The group counts it out; it goes on unaware."""
        self.group.loses(self.name)

    def restart_engine(self) -> None:
        """All courses are gone with the engine; the membership, its generation and what is known to be new stay."""
        self.close()
        holding = self.intake._holdings.partitions[0]
        end = holding.end
        holding.ledger = None
        at_once(self.intake._open(cast("Any", self.member)))
        holding.end = end

    def hand_over(self) -> None:
        """A graceful stop begins: see `Worker.hand_over`."""
        self.is_draining = True

    def _leave(self) -> None:
        at_once(self.intake._commit_once(cast("Any", self.member)))
        self.close()
        self.world.broker.orphan(self.name)
        if self.name in self.group.members:
            self.group.loses(self.name)
        self.is_up = False
        self._boot()

    def close(self) -> None:
        """Drop what is under way."""
        if self._fetch is not None:
            self._fetch.close()
            self._fetch = None
        self._drop_all()

    def _drop_all(self) -> None:
        for course in self.courses.values():
            course.run.close()
        self.courses.clear()

    # --- see `Taker` --------------------------------------------------------------------------------------------------

    def room(self) -> int:
        """See `Taker.room`."""
        return _ROOM

    def take(self, arrival: Arrival) -> None:
        """See `Taker.take`."""
        course = Course(self, arrival)
        self.courses[arrival.source.offset] = course
        course.run.go()

    def unread(self, *_letter: Any) -> None:
        """See `Taker.unread`: every dispatch can be read here."""
        raise AssertionError("a dispatch could not be read")

    def crowd(self) -> None:
        """See `Taker.crowd`: no ledger here gets so long."""

    async def drop(self, _partitions: frozenset[int]) -> None:
        """See `Taker.drop`."""
        self._drop_all()

    # --- stops --------------------------------------------------------------------------------------------------------

    def hears(self) -> None:
        """All of `chat.control` up to now."""
        log = self.world.broker.log(topics.CONTROL)
        for record in log[self.heard :]:
            if isinstance(record, TurnStopRequested) and record.turn is not None:
                self.stopped.add(record.turn)
        self.heard = len(log)
