"""One gate process: the product's `Gate`, its hands and its tables, carried on step by step."""

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from schemas import ids, topics
from schemas.errors import DependencyError
from schemas.fold import TurnFold
from schemas.ids import ConversationId, TurnId
from schemas.records import (
    ClockTicked,
    ConversationChanged,
    MovedLogged,
    Record,
    TurnAllowed,
    TurnCompleted,
    TurnRefused,
    TurnStarted,
)
from stream_processors.enrichment import reading
from stream_processors.enrichment.changelog import Changelog
from stream_processors.enrichment.composing import Request, Scene
from stream_processors.enrichment.contexts import Contexts
from stream_processors.enrichment.dispatcher import Dispatcher
from stream_processors.enrichment.facts import Passed
from stream_processors.enrichment.hands import Decided, Hands
from stream_processors.enrichment.inputs import Input
from stream_processors.enrichment.processing import Gate, Taken
from stream_processors.enrichment.state import OpenTurn, State
from stream_processors.enrichment.states import States
from stream_processors.enrichment.terms import Terms
from tests.simulation.facts import LIMITS, NO_GAUGES, WORDS, FleetReports, Shelf, clock_of
from tests.simulation.stepping import Ack, Pause, Run, at_once
from tests.simulation.tables import Disk, SteppedChangelog

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
Step = tuple[str, str, str]

CONVERSATION: Final = ids.conversation_id("0" * 32)
LOG: Final = topics.address(CONVERSATION, retired=False, stored=True, lanes=1)
LANE: Final = topics.address(CONVERSATION, retired=True, stored=True, lanes=1)
INPUTS: Final = (topics.MODERATED, topics.CONTROL, topics.TURNS)
TABLES: Final = (topics.GATE_CHANGELOG, topics.CONTEXT_CHANGELOG)
GROUP: Final = "gate"


class SteppedTopics:
    """See `OwnTopics`: the directory is a topic like any other, and what is deleted stays in its readers' sight."""

    def __init__(self, process: "GateProcess") -> None:
        self._process = process

    async def announce_retired(self, _partition: int, conversation: ConversationId, *, is_deleted: bool) -> int:
        """Once it is there, it is there."""
        world = self._process.world
        said = world.broker.log(topics.CONVERSATIONS)
        if not said:
            record = ConversationChanged(
                id="retired", at=world.at, conversation=conversation, user="u", created_at=world.at, retired=True,
                deleted=is_deleted,
            )  # fmt: skip
            await (await self._process.send(topics.CONVERSATIONS, record))
        return len(said) - 1

    async def close(self, moved: MovedLogged) -> None:
        """The own topic ends with this record."""
        await (await self._process.send(LOG.topic, moved))

    async def delete(self, _conversation: ConversationId) -> None:
        """Nobody reads it from here on."""
        await Pause("deletes")
        self._process.world.watch.deletes()


class SteppedHands(Hands):
    """The product's hands; only waiting and reading a log are the model's."""

    def __init__(self, process: "GateProcess", words: Any) -> None:
        super().__init__(
            appender=cast("Any", process),
            reader=cast("Any", None),
            admin=cast("Any", None),
            clock=process.clock,
            words=words,
            own_topics=SteppedTopics(process),
            load=process.wants,
        )
        self._process = process

    async def _persist(self, attempt: Callable[[], Awaitable[T]], what: str) -> T:
        while True:
            try:
                return await attempt()
            except DependencyError:
                await Pause("tries again")

    async def _folded(self, here: Scene, turn: OpenTurn, request: Request, margin_ms: int) -> tuple[TurnFold, int]:
        await Pause("reads back")
        fold, highest = TurnFold(turn.turn), 0
        log = self._process.world.broker.log(here.log.topic)
        for offset in range(turn.place or 0, len(log)):
            record = log[offset]
            if isinstance(record, MovedLogged):
                break
            fold.take(record, offset)
            if isinstance(record, TurnStarted) and record.turn == turn.turn:
                highest = max(highest, record.dispatch)
        return fold, highest


class SteppedDispatcher(Dispatcher):
    """The product's dispatcher; it knows its process, so that a mutant can look around."""

    process: "GateProcess"


class SteppedGate(Gate):
    """The product's gate, given records in place of bytes."""

    def decided(self, taken: Taken, record: Record) -> list[Decided]:
        """What an input comes to, its state written: see `Gate._decided`."""
        if isinstance(record, ClockTicked):
            return at_once(self._ticked(taken))
        addressed = reading.read(taken.topic, taken.offset, record, {})
        if addressed is None:
            return []
        if isinstance(record, TurnAllowed | TurnRefused):
            self._requests.keep(0, taken.offset, record, 0)
        if isinstance(record, TurnCompleted):
            self._dispatcher.learn(record)
            self._said.discard(cast("TurnId", record.turn))
        decided = at_once(self._move(0, addressed.conversation, addressed.given, record))
        return [] if decided is None else [decided]

    def begins(self, taken: Taken) -> None:
        """The input is taken in: see `Gate.take`."""
        self._order.begin((taken.topic, taken.partition), taken)

    def finished(self, taken: Taken) -> None:
        """The input's effects are done."""
        self._finished(taken)

    def performs(self, decided: Decided) -> Coroutine[Any, Any, None]:
        """What carries the decision out."""
        return self._perform(decided)

    def state(self) -> State | None:
        """Of the conversation, as this process knows it."""
        return self._states.read(0, CONVERSATION)

    def move(self, given: Input) -> Decided | None:
        """A step of the reducer for an input that no record brings."""
        return at_once(self._move(0, CONVERSATION, given, None))


class GateProcess:
    """See the module.

    Args:
        disks: of the two tables; what a crash leaves.
    """

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.disks = (Disk(), Disk())
        self.clock = clock_of(world)
        self.is_up = True
        self._boot()

    def _boot(self) -> None:
        world = self.world
        self.states, self.contexts = (
            SteppedChangelog(world.broker, self.name, topic, disk)
            for topic, disk in zip(TABLES, self.disks, strict=True)
        )
        requests = cast("Any", Shelf(world.broker.log(topics.MODERATED)))
        fleet = cast("Any", FleetReports(world))
        contexts = Contexts(cast("Changelog", self.contexts), requests=requests, measures=WORDS, fleet=fleet)
        dispatcher = SteppedDispatcher(
            contexts=contexts,
            requests=requests,
            measures=WORDS,
            fleet=fleet,
            gauges=NO_GAUGES,
            clock=self.clock,
            limits=LIMITS,
            terms=Terms(answer_tokens=64),
        )
        dispatcher.process = self
        self.gate = SteppedGate(
            states=States(cast("Changelog", self.states), gauges=NO_GAUGES, clock=self.clock, limits=LIMITS),
            contexts=contexts,
            requests=requests,
            dispatcher=dispatcher,
            hands=SteppedHands(self, dispatcher),
            appender=cast("Any", None),
            clock=self.clock,
            priorities={},
            on_broken=_raise,
        )
        self.generation = 0
        self.is_revoked = True
        self.positions: dict[str, int] = {}
        self.done: dict[str, int] = {}
        self.loads: dict[str, tuple[ConversationId, str | None, TurnId | None]] = {}
        self._ticks = 0  # under way: what a tick decided is decided again by a later one alone
        self._chain: deque[tuple[Decided, Callable[[], None]]] = deque()
        self._run: Run[None] | None = None

    # --- what the scheduler asks --------------------------------------------------------------------------------------

    def steps(self) -> list[Step]:
        """All that this process can do next, faults apart."""
        name, broker = self.name, self.world.broker
        group = broker.groups[GROUP]
        if not self.is_up:
            return [(name, "starts", "")]
        found: list[Step] = [(name, "lands", topic) for topic in broker.flying(name)]
        if name not in group.members:
            if self.is_revoked and not self.gate.in_flight:
                found += [(name, "joins", "")]
            elif not self.is_revoked:
                found.append((name, "is revoked", ""))
        elif group.generation != self.generation:
            if not self.is_revoked:
                found.append((name, "is revoked", ""))
            elif not self.gate.in_flight:
                found.append((name, "opens", ""))
        if not self.is_revoked:
            for topic in INPUTS:
                if self.positions[topic] < len(broker.log(topic)):
                    found.append((name, "reads", topic))
            if self.done != group.commits and group.owner == name:
                found.append((name, "commits", ""))
            if self.states.is_visited or self.contexts.is_visited:
                found.append((name, "looks", ""))
        if self._run is not None and self._run.verb is not None:
            found.append((name, self._run.verb, ""))
        found += [(name, "loads", key) for key in self.loads]
        return found

    def do(self, verb: str, what: str) -> None:
        """Carry one of `steps` out."""
        match verb:
            case "lands":
                self.world.broker.lands(self.name, what)
            case "reads":
                self._read(what)
            case "commits":
                self._commit()
            case "starts":
                self.is_up = True
            case "joins":
                self._join()
            case "is revoked":
                self.is_revoked = True
            case "opens":
                self.opens()
            case "looks":
                generation = self.gate.written_under(0)
                self.states.looks(generation, lambda _partition, _key: False)
                self.contexts.looks(generation, self.gate.adopts)
            case "loads":
                self.world.store.loads(*self.loads.pop(what))
            case _:
                if self._run is not None:
                    self._run.go()

    def crash(self, *, loses_disk: bool) -> None:
        """The process is gone; what it sent lands when it likes."""
        self.close()
        self.world.needs_clock |= bool(self.loads or self._ticks)
        self.world.broker.orphan(self.name)
        if loses_disk:
            self.disks = (Disk(), Disk())
        self.is_up = False
        self._boot()

    def close(self) -> None:
        """Drop what is under way."""
        if self._run is not None:
            self._run.close()
            self._run = None

    @property
    def has_caught_up(self) -> bool:
        """It has read all that there is, and nothing of it is under way."""
        behind = any(self.positions.get(topic, 0) < len(self.world.broker.log(topic)) for topic in INPUTS)
        return self.is_up and not self.is_revoked and not behind and self.is_idle

    @property
    def is_idle(self) -> bool:
        """Nothing is under way."""
        return not self.gate.in_flight and not self.loads

    # --- the group ----------------------------------------------------------------------------------------------------

    def _join(self) -> None:
        group = self.world.broker.groups[GROUP]
        self.generation = 0
        group.members.append(self.name)
        group.moves(group.owner or self.name)

    def opens(self) -> None:
        """A rebalance has ended: the tables are recovered if the partition is ours."""
        group = self.world.broker.groups[GROUP]
        self.gate.closed()
        self.generation = group.generation
        self.is_revoked = group.owner != self.name
        if self.is_revoked:
            return
        ends = (self.states.recovers(), self.contexts.recovers())
        self.gate.opened(0, generation=group.generation, ends=ends)
        self.positions = {topic: group.commits.get(topic, 0) for topic in INPUTS}
        self.done = dict(group.commits)

    def _commit(self) -> None:
        group = self.world.broker.groups[GROUP]
        if group.counts_in(self.name, self.generation):
            group.commits.update(self.done)

    # --- inputs and effects -------------------------------------------------------------------------------------------

    def _read(self, topic: str) -> None:
        offset = self.positions[topic]
        self.positions[topic] = offset + 1
        taken = Taken(
            topic=topic,
            partition=0,
            offset=offset,
            key=None,
            value=None,
            generation=self.generation,
            ack=lambda: self._ack(topic, offset),
        )
        record = self.world.broker.log(topic)[offset]
        if isinstance(record, ClockTicked):
            store = self.world.store
            self.gate.passed[0] = Passed(turns=store.position, conversations=store.heard)
        self.gate.begins(taken)
        decided = self.gate.decided(taken, record)
        self._ticks += isinstance(record, ClockTicked)
        for each in decided:
            self._chain.append((each, lambda: self._is_done(taken, record)))
        if not decided:
            self._is_done(taken, record)
        self._go_on()

    def _is_done(self, taken: Taken, record: Record) -> None:
        self._ticks -= isinstance(record, ClockTicked)
        self.gate.finished(taken)

    def _ack(self, topic: str, offset: int) -> None:
        self.done[topic] = offset + 1

    def _go_on(self) -> None:
        while self._run is None and self._chain:
            decided, on_done = self._chain.popleft()
            run = self._run = Run(self.gate.performs(decided), partial(self._ended, on_done))
            run.go()

    def _ended(self, on_done: Callable[[], None], _none: None) -> None:
        self._run = None
        on_done()
        self._go_on()

    async def send(self, topic: str, record: Record, *, partition: int | None = None, trace: str | None = None) -> Ack:
        """See `Appender.send`."""
        return self.world.broker.send(self.name, topic, record)

    def wants(self, conversation: ConversationId, tenant: str | None, parent: TurnId | None) -> None:
        """See `Loader.want`."""
        self.loads["newest" if parent is None else parent[-1]] = (conversation, tenant, parent)


def _raise(error: BaseException) -> None:
    raise error
