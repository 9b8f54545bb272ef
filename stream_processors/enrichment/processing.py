"""The gate's shell: reads an input, moves the state by the pure reducer, and sees to *state, then effects, then ack*.

One agent calls `take`, input by input. What it decides is carried out by a task of its own, one after the other for a
conversation, side by side for different ones; inputs are acknowledged in the order of their partition.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from infra.runtime.clock import Clock
from infra.runtime.kafka import Appender
from schemas import codec, instants, topics
from schemas.errors import ContractError, DependencyError
from schemas.ids import ConversationId, TurnId, conversation_of
from schemas.records import ClockTicked, DeadLettered, Record, TurnAllowed, TurnCompleted, TurnRefused
from schemas.turns import Source
from stream_processors.enrichment import reading
from stream_processors.enrichment.acks import AckOrder
from stream_processors.enrichment.contexts import Contexts
from stream_processors.enrichment.dispatcher import Dispatcher
from stream_processors.enrichment.effects import AppendAccepted, ForgetContext, KeepContext, KeepLoaded
from stream_processors.enrichment.facts import Passed
from stream_processors.enrichment.gate import reduce
from stream_processors.enrichment.hands import Decided, Hands
from stream_processors.enrichment.inputs import Input, Owner, Ticked
from stream_processors.enrichment.requests import NotAtHand, Requests
from stream_processors.enrichment.state import Phase, Retirement
from stream_processors.enrichment.states import States

log = logging.getLogger(__name__)

_IN_FLIGHT: Final = 2_000
_DEAD_LETTER_BYTES: Final = 512 * 1024
_BACKOFF_S: Final = 0.2
_NOWHERE: Final = Passed()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taken:
    """One input as it was fetched.

    Args:
        topic: without the prefix.
        generation: of the group, when it was fetched.
        ack: tells faust that the input is done.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    generation: int
    ack: Callable[[], None]


class Gate:
    """See the module.

    Args:
        states, contexts: the two tables.
        requests: told of each that is read, and of each whose turn has ended.
        dispatcher: what the world is like at a step.
        priorities: by tier.
        listed: whose conversation it is, if the directory has it with a topic of its own.
        on_broken: told of a bug: the process must end, nothing is acknowledged any more.
    """

    def __init__(
        self,
        *,
        states: States,
        contexts: Contexts,
        requests: Requests,
        dispatcher: Dispatcher,
        hands: Hands,
        appender: Appender,
        clock: Clock,
        priorities: Mapping[str, int],
        on_broken: Callable[[BaseException], None],
        listed: Callable[[ConversationId], Owner | None] = lambda _conversation: None,
    ) -> None:
        self._states = states
        self._contexts = contexts
        self._requests = requests
        self._dispatcher = dispatcher
        self._hands = hands
        self._appender = appender
        self._clock = clock
        self._priorities = priorities
        self._on_broken = on_broken
        self._listed = listed
        self._said: set[TurnId] = set()  # whose `turn.accepted` this life has decided: DESIGN.md, "Non-obvious"
        self._chains: dict[ConversationId, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._order: AckOrder[Taken] = AckOrder()
        self._room = asyncio.Event()
        self._room.set()
        self._is_broken = False
        self._held_ms: dict[int, int] = {}
        self.passed: dict[int, Passed] = {}
        self.acknowledged: dict[tuple[str, int], int] = {}

    # --- partitions come and go ---------------------------------------------------------------------------------------

    @property
    def partitions(self) -> tuple[int, ...]:
        """Those that are owned and recovered."""
        return self._states.partitions

    @property
    def in_flight(self) -> int:
        """Inputs that are not acknowledged."""
        return len(self._order)

    def opened(self, partition: int, *, generation: int, ends: tuple[int, int]) -> None:
        """The partition is ours and its tables are recovered.

        Args:
            generation: the group's.
            ends: of the two changelogs, as far as recovery read.
        """
        self._states.opened(partition, end=ends[0], generation=generation)
        self._contexts.opened(partition, end=ends[1], generation=self.written_under(partition))
        self._held_ms[partition] = self._clock.wall_ms()

    def closed(self) -> None:
        """No partition is ours until `opened` says so."""
        self._states.closed()
        self._contexts.closed()
        self._dispatcher.closed()
        self.acknowledged.clear()
        self._said.clear()
        self._held_ms.clear()

    def written_under(self, partition: int) -> int:
        """The generation that this process writes under there."""
        return self._states.written_under(partition)

    def adopts(self, partition: int, key: bytes) -> bool:
        """Whether a context entry that a zombie gate wrote may stay: it says how a turn ended, unless that was deleted.

        The zombie's state, which may be in the changelog as well, speaks of it. A zombie that sleeps for longer than a
        deleted conversation is remembered could leave one behind.
        """
        state = self._states.read(partition, conversation_of(TurnId(key.decode())))
        return state is None or state.phase is not Phase.DELETED

    # --- one input ----------------------------------------------------------------------------------------------------

    async def take(self, taken: Taken) -> None:
        """The input's state is written and its effects are on their way. Never raises; a bug ends the process."""
        try:
            await self._room.wait()
            if taken.partition not in self._states.partitions:
                return  # it went to somebody else meanwhile, who reads this input again
            self._order.begin((taken.topic, taken.partition), taken)
            if len(self._order) >= _IN_FLIGHT:
                self._room.clear()
            decided = await self._decided(taken)
            if not decided:
                self._finished(taken)
            elif len(decided) == 1:
                self._start(decided[0], lambda: self._finished(taken))
            else:
                self._start_all(decided, taken)
        except Exception as error:  # noqa: BLE001 - faust would acknowledge what failed here
            self._break(error)

    def _start_all(self, decided: list[Decided], taken: Taken) -> None:
        left = len(decided)

        def one_less() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                self._finished(taken)

        for each in decided:
            self._start(each, one_less)

    async def _decided(self, taken: Taken) -> list[Decided]:
        if taken.value is None:
            return []
        try:
            record = codec.decode(taken.value)
            addressed = reading.read(taken.topic, taken.offset, record, self._priorities)
        except codec.UnknownRecord:
            return []
        except ContractError as error:
            await self._dead_letter(taken, error)
            return await self._salvaged(taken)
        if isinstance(record, ClockTicked):
            return await self._ticked(taken)
        if addressed is None:
            return []
        if isinstance(record, TurnAllowed | TurnRefused):
            self._requests.keep(taken.partition, taken.offset, record, len(taken.value))
        if isinstance(record, TurnCompleted):
            self._dispatcher.learn(record)
            if record.turn is not None:
                self._said.discard(record.turn)
        decided = await self._move(taken.partition, addressed.conversation, addressed.given, record)
        return [] if decided is None else [decided]

    async def _salvaged(self, taken: Taken) -> list[Decided]:
        """A request that can't be read, but whose turn can: it ends where its readers see it."""
        record = reading.salvaged(taken.value or b"") if taken.topic == topics.MODERATED else None
        if record is None:
            return []
        self._requests.keep(taken.partition, taken.offset, record, len(taken.value or b""))
        addressed = reading.unreadable(taken.offset, record)
        decided = await self._move(taken.partition, addressed.conversation, addressed.given, record)
        return [] if decided is None else [decided]

    async def _ticked(self, taken: Taken) -> list[Decided]:
        found: list[Decided] = []
        for conversation in self._states.due(taken.partition):
            decided = await self._move(taken.partition, conversation, Ticked(), None)
            found += [] if decided is None else [decided]
            self._states.ticked(taken.partition, conversation)
        return found

    def meet(self, partition: int, conversation: ConversationId) -> None:
        """The conversation is looked at by the next tick, if only the directory knows that it has a topic."""
        if partition in self._states.partitions:
            state = self._states.peek(partition, conversation)
            if state is None or state.retirement is Retirement.GONE:
                self._states.look_at(partition, conversation)

    async def _move(
        self, partition: int, conversation: ConversationId, given: Input, record: Record | None
    ) -> Decided | None:
        """The reducer's step, begun again when something had to be fetched; no await between reading and writing."""
        while True:
            try:
                return self._step(partition, conversation, given, record)
            except NotAtHand as missing:
                await missing.fetched()

    def _step(
        self, partition: int, conversation: ConversationId, given: Input, record: Record | None
    ) -> Decided | None:
        """Read, decide, write. Raises NotAtHand, and then nothing is written."""
        before = self._states.read(partition, conversation)
        brought = self._contexts.brought(partition, before, record)
        facts = self._dispatcher.facts(
            partition,
            brought,
            said=self._said,
            passed=self.passed.get(partition, _NOWHERE),
            held_ms=self._held_ms[partition],
            owner=self._listed(conversation),
        )
        outcome = reduce(conversation, before, given, facts)
        written: list[asyncio.Future[None]] = []
        for effect in outcome.effects:
            match effect:
                case KeepContext() | KeepLoaded():
                    written += self._contexts.keep(partition, brought)
                case AppendAccepted(turn):
                    self._said.add(turn.turn)
                case ForgetContext():
                    written += self._contexts.forget(partition, conversation)
        # Also a state that stays as it is becomes ours before its input is done with: a zombie between its writer and
        # us may write another, which knows nothing of the input, and nobody would read that again.
        if outcome.state != before or (before is not None and not self._states.is_ours(partition, conversation)):
            written.append(self._states.write(partition, conversation, before, outcome.state, behind=tuple(written)))
        if isinstance(record, TurnCompleted) and before is not None:
            for turn in before.turns:
                if turn.turn == record.turn:
                    self._requests.drop(partition, turn.order)
        if not outcome.effects and not written:
            return None
        return Decided(
            partition=partition,
            conversation=conversation,
            state=outcome.state or before,
            effects=outcome.effects,
            written=tuple(written),
        )

    # --- carrying out -------------------------------------------------------------------------------------------------

    def _start(self, decided: Decided, on_done: Callable[[], None]) -> None:
        before = self._chains.get(decided.conversation)
        task = asyncio.create_task(self._carry_out(before, decided, on_done))
        self._chains[decided.conversation] = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(
        self, before: "asyncio.Task[None] | None", decided: Decided, on_done: Callable[[], None]
    ) -> None:
        try:
            if before is not None and not before.done():
                await asyncio.wait({before})
            await self._perform(decided)
            if self._chains.get(decided.conversation) is asyncio.current_task():
                del self._chains[decided.conversation]
            on_done()
        except Exception as error:  # noqa: BLE001 - a bug ends the process before the ack
            self._break(error)

    async def _perform(self, decided: Decided) -> None:
        told = await self._hands.perform(decided)
        for each in told:
            follows = await self._move(decided.partition, decided.conversation, each, None)
            if follows is not None:
                await self._perform(follows)

    def _finished(self, taken: Taken) -> None:
        if self._is_broken:
            return
        for each in self._order.done((taken.topic, taken.partition), taken):
            each.ack()
            self.acknowledged[each.topic, each.partition] = each.offset
        if len(self._order) < _IN_FLIGHT:
            self._room.set()

    def _break(self, error: BaseException) -> None:
        if not self._is_broken:
            self._is_broken = True
            self._on_broken(error)

    async def _dead_letter(self, taken: Taken, error: ContractError) -> None:
        """What can't be read lies where a person finds it, before its input is acknowledged."""
        source = Source(taken.topic, taken.partition, taken.offset)
        value = (taken.value or b"")[:_DEAD_LETTER_BYTES]
        record = DeadLettered(
            id=f"{source.topic}/{source.partition}/{source.offset}",
            at=instants.from_ms(self._clock.wall_ms()),
            source=source,
            role="enrichment",
            error=str(error),
            place=error.place,
            value=base64.b64encode(value).decode(),
        )
        while True:
            try:
                await self._appender.append(topics.DEAD_LETTERS, record)
                return
            except DependencyError as away:
                log.warning("a dead letter waits: %s", away)
                await asyncio.sleep(_BACKOFF_S)

    async def drained(self) -> None:
        """Returns when nothing is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
