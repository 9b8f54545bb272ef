"""The gate's shell: reads an input, moves the state by the pure reducer, and sees to *state, then effects, then ack*.

One agent calls `take`, input by input. What it decides is carried out by a task of its own, one after the other for a
conversation, side by side for different ones; inputs are acknowledged in the order of their partition.
"""

import asyncio
import base64
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.runtime.band_settings import BandSettings
from infra.runtime.clock import Clock
from infra.runtime.kafka import Appender
from schemas import codec, instants, topics
from schemas.errors import ContractError, DependencyError
from schemas.ids import ConversationId, TurnId
from schemas.records import (
    ClockTicked,
    ContextLoaded,
    DeadLettered,
    Record,
    TurnAllowed,
    TurnCompleted,
    TurnDispatched,
    TurnRefused,
)
from schemas.turns import Failure, Message, Role, Source, Trimmed
from stream_processors.enrichment import composing, deadlines, fencing, reading
from stream_processors.enrichment.acks import AckOrder
from stream_processors.enrichment.agenda import Agenda
from stream_processors.enrichment.changelog import Changelog
from stream_processors.enrichment.composing import Request, Scene
from stream_processors.enrichment.context import ContextEntry, context_turn, pack_entry, unpack_entry
from stream_processors.enrichment.counting import Measures
from stream_processors.enrichment.effects import AppendAccepted, ForgetContext, KeepContext, KeepLoaded
from stream_processors.enrichment.facts import Facts, Fits, InLine, Limits, Plan, Spoken
from stream_processors.enrichment.fleet_view import FleetView
from stream_processors.enrichment.gate import reduce
from stream_processors.enrichment.hands import Decided, Hands
from stream_processors.enrichment.inputs import Input, Ticked
from stream_processors.enrichment.planning import Planner, count_all
from stream_processors.enrichment.prompt import Prompt
from stream_processors.enrichment.requests import NotAtHand, Requests
from stream_processors.enrichment.settings import FallbackSettings
from stream_processors.enrichment.state import OpenTurn, State
from stream_processors.enrichment.state_codec import has_open_turns, pack, unpack
from stream_processors.enrichment.waiting import QueueGauges
from stream_processors.routing.elsewhere import partition_elsewhere
from stream_processors.routing.waiting import ahead, eta_s

log = logging.getLogger(__name__)

_STATES: Final = 8_192  # decoded states kept in memory: those that speak now
_ENTRIES: Final = 2_048
_ENTRY_BYTES: Final = 16_384
_IN_FLIGHT: Final = 2_000
_DEAD_LETTER_BYTES: Final = 512 * 1024
_BACKOFF_S: Final = 0.2


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
        hands: set by `wire`, since they ask the gate for words.
        on_broken: told of a bug: the process must end, nothing is acknowledged any more.
    """

    def __init__(
        self,
        *,
        states: Changelog,
        contexts: Changelog,
        requests: Requests,
        measures: Measures,
        fleet: FleetView,
        appender: Appender,
        clock: Clock,
        limits: Limits,
        bands: Mapping[str, BandSettings],
        fallbacks: Mapping[str, FallbackSettings],
        instructions: Mapping[str, str],
        answer_tokens: int,
        gauges: QueueGauges,
        on_broken: Callable[[BaseException], None],
    ) -> None:
        self._states_table = states
        self._contexts = contexts
        self._requests = requests
        self._measures = measures
        self._fleet = fleet
        self._appender = appender
        self._clock = clock
        self._limits = limits
        self._bands = bands
        self._fallbacks = fallbacks
        self._priorities = {tier: band.priority for tier, band in bands.items()}
        self._instructions = instructions
        self._answer_tokens = answer_tokens
        self._gauges = gauges
        self._on_broken = on_broken
        self.hands: Hands | None = None
        self._states: OrderedDict[ConversationId, State | None] = OrderedDict()
        self._entries: OrderedDict[TurnId, ContextEntry] = OrderedDict()
        self._prompts: dict[TurnId, Prompt] = {}
        self._said: set[TurnId] = set()
        self._agendas: dict[int, Agenda] = {}
        self._generations: dict[int, tuple[int, int]] = {}  # of the group > the one to write under
        self._chains: dict[ConversationId, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._order: AckOrder[Taken] = AckOrder()
        self._room = asyncio.Event()
        self._room.set()
        self._is_broken = False
        self._turn_s: float | None = None
        self.persisted: dict[int, int] = {}
        self.acknowledged: dict[tuple[str, int], int] = {}

    # --- partitions come and go ---------------------------------------------------------------------------------------

    @property
    def partitions(self) -> tuple[int, ...]:
        """Those that are owned and recovered."""
        return tuple(self._agendas)

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
        agenda, seen = Agenda(), 0
        for key, stamp in self._states_table.stamps(partition):
            agenda.put(key, stamp.due_ms)
            seen = max(seen, stamp.generation)
        effective = fencing.effective(generation, seen)
        self._generations[partition] = (generation, effective)
        self._agendas[partition] = agenda
        self._states_table.opened(partition, ends[0], effective)
        self._contexts.opened(partition, ends[1], effective)
        for key in [key for key, _ in self._states_table.stamps(partition)]:
            raw = self._states_table.read(partition, key)
            if raw is not None and has_open_turns(raw):
                self._gauges.moved(partition, None, unpack(ConversationId(key.decode()), raw))

    def closed(self) -> None:
        """No partition is ours until `opened` says so."""
        for partition in tuple(self._agendas):
            self._states_table.closed(partition)
            self._contexts.closed(partition)
            self._gauges.closed(partition)
        self._agendas.clear()
        self.acknowledged.clear()
        self._states.clear()
        self._entries.clear()
        self._prompts.clear()
        self._said.clear()

    def written_under(self, partition: int) -> int:
        """The generation that this process writes under there."""
        return self._generations[partition][1]

    # --- one input ----------------------------------------------------------------------------------------------------

    async def take(self, taken: Taken) -> None:
        """The input's state is written and its effects are on their way. Never raises; a bug ends the process."""
        try:
            await self._room.wait()
            if taken.partition not in self._agendas:
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
            self._learn(record)
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
        agenda = self._agendas.get(taken.partition)
        found: list[Decided] = []
        for key in agenda.take(self._clock.wall_ms()) if agenda is not None else ():
            conversation = ConversationId(key.decode())
            decided = await self._move(taken.partition, conversation, Ticked(), None)
            found += [] if decided is None else [decided]
            state = self._read_state(taken.partition, conversation)
            if state is not None and agenda is not None:
                agenda.put(key, deadlines.due_ms(state, self._limits, self._clock.wall_ms()))
        return found

    async def _move(
        self, partition: int, conversation: ConversationId, given: Input, record: Record | None
    ) -> Decided | None:
        """The reducer's step, begun again when something had to be fetched; no await between reading and writing."""
        while True:
            try:
                return self._step(partition, conversation, given, record)
            except NotAtHand as missing:
                await self._fetched(missing)

    def _step(
        self, partition: int, conversation: ConversationId, given: Input, record: Record | None
    ) -> Decided | None:
        before = self._read_state(partition, conversation)
        ended = self._entry(partition, before, record) if isinstance(record, TurnCompleted) else None
        brought = [] if ended is None else [ended]
        if isinstance(record, ContextLoaded):
            brought = [ContextEntry(turn=turn) for turn in record.turns]
        outcome = reduce(conversation, before, given, self._facts(partition, brought))
        written: list[asyncio.Future[None]] = []
        for effect in outcome.effects:
            match effect:
                case KeepContext() | KeepLoaded():
                    written += self._keep(partition, brought)
                case AppendAccepted(turn):
                    self._said.add(turn.turn)
                case ForgetContext():
                    written += self._forget(partition, conversation)
        if outcome.state != before:
            written.append(self._write_state(partition, conversation, before, outcome.state))
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

    # --- state --------------------------------------------------------------------------------------------------------

    def _read_state(self, partition: int, conversation: ConversationId) -> State | None:
        if conversation in self._states:
            self._states.move_to_end(conversation)
            return self._states[conversation]
        raw = self._states_table.read(partition, conversation.encode())
        state = None if raw is None else unpack(conversation, raw)
        self._remember(conversation, state)
        return state

    def _remember(self, conversation: ConversationId, state: State | None) -> None:
        self._states[conversation] = state
        self._states.move_to_end(conversation)
        if len(self._states) > _STATES:
            self._states.popitem(last=False)

    def _write_state(
        self, partition: int, conversation: ConversationId, before: State | None, after: State | None
    ) -> "asyncio.Future[None]":
        key = conversation.encode()
        due_ms = 0 if after is None else deadlines.due_ms(after, self._limits, self._clock.wall_ms())
        self._agendas[partition].put(key, due_ms)
        self._remember(conversation, after)
        self._gauges.moved(partition, before, after)
        return self._states_table.write(
            partition,
            key,
            None if after is None else pack(after),
            generation=self.written_under(partition),
            due_ms=due_ms,
        )

    def _facts(self, partition: int, brought: Sequence[ContextEntry]) -> Facts:
        """The moment; `brought`: what the input itself adds to the context, kept only behind the reduction."""
        now_ms = self._clock.wall_ms()
        fleet = self._fleet.at(now_ms)

        def plan(turn: OpenTurn) -> Plan:
            request = self._requests.at_hand(partition, turn.order)
            planned, prompt = self._planner(partition, request.tenant, brought).plan(turn, request.request)
            if prompt is not None:
                self._prompts[turn.turn] = prompt
            return planned

        def attempts(turn: OpenTurn) -> int:
            return self._band(self._requests.at_hand(partition, turn.order)).max_attempts

        def fallback(turn: OpenTurn) -> Fits | Spoken | None:
            request = self._requests.at_hand(partition, turn.order)
            planner = self._planner(partition, request.tenant, brought)
            found, prompt = planner.fall_back(turn, request.request, self._fallback(turn))
            if prompt is not None:
                self._prompts[turn.turn] = prompt
            return found

        def in_line(turn: OpenTurn) -> InLine | None:
            pool = fleet.pools.get(turn.pool or "")
            before = None if pool is None else ahead(pool, self._gauges.before(turn))
            if pool is None or before is None or turn.pool == topics.CLOSING_POOL:
                return None
            return InLine(before, eta_s(pool, before, self._turn_s))

        return Facts(
            now_ms=now_ms,
            plan=plan,
            is_alive=fleet.is_alive,
            has_ended=lambda turn: self._contexts.read(partition, turn.encode()) is not None,
            was_said=self._said.__contains__,
            attempts=attempts,
            fallback=fallback,
            in_line=in_line,
            persisted=self.persisted.get(partition, -1),
            turn_s=self._turn_s,
            limits=self._limits,
        )

    def _planner(self, partition: int, tenant: str | None, brought: Sequence[ContextEntry] = ()) -> Planner:
        overlay = {entry.turn.turn: entry for entry in brought}

        def look_up(turn: TurnId) -> ContextEntry | None:
            return overlay.get(turn) or self._look_up(partition, turn)

        return Planner(
            fleet=self._fleet.at(self._clock.wall_ms()),
            look_up=look_up,
            measure=self._measures.of,
            tenant_instructions=None if tenant is None else self._instructions.get(tenant),
            answer_tokens=self._answer_tokens,
            turn_s=self._turn_s,
            dispatched=self._gauges.dispatched,
        )

    # --- context ------------------------------------------------------------------------------------------------------

    def _look_up(self, partition: int, turn: TurnId) -> ContextEntry | None:
        found = self._entries.get(turn)
        if found is not None:
            self._entries.move_to_end(turn)
            return found
        raw = self._contexts.read(partition, turn.encode())
        if raw is None:
            return None
        entry = unpack_entry(raw)
        self._cache(turn, entry, len(raw))
        return entry

    def _cache(self, turn: TurnId, entry: ContextEntry, size: int) -> None:
        if size <= _ENTRY_BYTES:
            self._entries[turn] = entry
            if len(self._entries) > _ENTRIES:
                self._entries.popitem(last=False)

    def _entry(self, partition: int, before: State | None, record: TurnCompleted) -> ContextEntry | None:
        """The context's value of a turn that has just ended, its tokens counted by the model that answered it."""
        if not record.stored:
            return None
        open_turn = next((turn for turn in (before.turns if before else ()) if turn.turn == record.turn), None)
        history: tuple[Message, ...] = ()
        if open_turn is not None and open_turn.has_history:
            history = self._requests.at_hand(partition, open_turn.order).request.history
        turn = context_turn(record, history)
        deployment = self._fleet.deployment(record.pool)
        if deployment is None or not turn.texts:
            return ContextEntry(turn=turn)
        tokens = count_all(turn.texts, self._measures.of(deployment))
        return ContextEntry(turn=turn, counts={deployment.model_version: tokens})

    def _keep(self, partition: int, entries: Iterable[ContextEntry]) -> "list[asyncio.Future[None]]":
        written = []
        for entry in entries:
            key = entry.turn.turn.encode()
            if self._contexts.read(partition, key) is None:
                packed = pack_entry(entry)
                self._cache(entry.turn.turn, entry, len(packed))
                written.append(self._contexts.write(partition, key, packed, generation=self.written_under(partition)))
        return written

    def _forget(self, partition: int, conversation: ConversationId) -> "list[asyncio.Future[None]]":
        prefix = f"resp_{conversation[5:]}".encode()
        generation = self.written_under(partition)
        keys = self._contexts.keys(partition, prefix)
        for key in keys:
            self._entries.pop(TurnId(key.decode()), None)
        return [self._contexts.write(partition, key, None, generation=generation) for key in keys]

    # --- words for the hands ------------------------------------------------------------------------------------------

    async def request(self, partition: int, turn: OpenTurn) -> Request:
        """The turn's request. Raises KafkaUnavailable."""
        return await self._requests.fetch(partition, turn.order)

    async def dispatched(self, here: Scene, partition: int, turn: OpenTurn, request: Request) -> TurnDispatched:
        """The turn for its worker; its prompt is the planned one, once, or built again for the same pool."""
        is_closing = turn.pool == topics.CLOSING_POOL
        deployment = self._fleet.deployment(turn.pool)
        prompt = self._prompts.pop(turn.turn, None)
        while prompt is None and not is_closing:
            try:
                built = self._planner(partition, request.tenant).prompt(turn, request.request, deployment)
            except NotAtHand as missing:
                await self._fetched(missing)
                continue
            prompt = built if isinstance(built, Prompt) else _least(request, turn)
            if isinstance(built, Failure):
                log.warning("a planned turn doesn't fit any more: %s", built.message, extra={"turn": turn.turn})
        return composing.dispatched(
            here,
            turn,
            request,
            prompt=prompt,
            deployment=deployment,
            band=self._band(request),
            fallback_sentence=None if (fallback := self._fallback(turn)) is None else fallback.sentence,
        )

    def elsewhere(self, turn: OpenTurn, worker: str) -> int | None:
        """The partition for a turn that this worker's engine has failed; None: wherever its key says."""
        pool = self._fleet.at(self._clock.wall_ms()).pools.get(turn.pool or "")
        return None if pool is None else partition_elsewhere(pool, worker, turn.turn)

    def _band(self, request: Request) -> BandSettings:
        return self._bands.get(request.request.tier, BandSettings())

    def _fallback(self, turn: OpenTurn) -> FallbackSettings | None:
        return self._fallbacks.get(turn.origin or turn.pool or "")

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
        if self.hands is None:
            raise RuntimeError("the gate has no hands")
        lost = await self.hands.perform(decided)
        for each in lost:
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

    async def _fetched(self, missing: NotAtHand) -> None:
        while True:
            try:
                await missing.fetch()
                return
            except DependencyError as error:
                log.warning("fetching what an input needs: %s; trying again", error)
                await asyncio.sleep(_BACKOFF_S)

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

    def _learn(self, record: TurnCompleted) -> None:
        """How long turns take of late: a tenth of each new one."""
        turn_s = record.duration_ms / 1000
        self._turn_s = turn_s if self._turn_s is None else 0.9 * self._turn_s + 0.1 * turn_s
        if record.turn is not None:
            self._prompts.pop(record.turn, None)
            self._said.discard(record.turn)

    async def drained(self) -> None:
        """Returns when nothing is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))


def _least(request: Request, turn: OpenTurn) -> Prompt:
    """Only the message: what is left when the context of a turn that was planned once is gone."""
    message = Message(Role.USER, request.request.text)
    limit = request.request.options.max_tokens
    return Prompt(messages=(message,), tokens=turn.tokens, max_tokens=limit or 512, trimmed=Trimmed())
