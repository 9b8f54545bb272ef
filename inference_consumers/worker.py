"""The one loop of a worker: take what arrived, schedule who is next, run courses, publish through them.

It owns the look-ahead and the running courses; intake, control and the engine tell it what happened, `main` wires it.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from inference_consumers.control.stops import Stops
from inference_consumers.engines.port import Started
from inference_consumers.generating.course import Course
from inference_consumers.generating.generation import Interrupt
from inference_consumers.generating.tools import Tools
from inference_consumers.intake.port import Arrival, Intake
from inference_consumers.publishing import projecting
from inference_consumers.scheduling.entry import Entry
from inference_consumers.scheduling.isolation import Isolation
from inference_consumers.scheduling.look_ahead import LookAhead
from inference_consumers.scheduling.phases import Phase
from infra.runtime.kafka import RecordTooLarge
from schemas import instants, topics
from schemas.errors import ContractError, DependencyError
from schemas.ids import TurnId
from schemas.records import DeadLettered, TurnDispatched
from schemas.turns import Source

log = logging.getLogger(__name__)

ROLE: Final = "inference"

# The loop wakes by itself no later: a deadline is told at most that much late.
_TICK_S: Final = 0.5
# Cancelled courses only close their engine's iterator: one step.
_DROP_S: Final = 1.0
_GIVE_BACK: Final = 64
_RETRY_S: Final = 0.5
_DEAD_LETTER_BYTES: Final = 512 * 1024


class Payloads(Protocol):
    """Reads a dispatch again whose payload was not kept."""

    async def read(self, source: Source) -> TurnDispatched:
        """The dispatch at that place. Raises KafkaUnavailable."""
        ...


@dataclass(slots=True)
class _Held:
    """A source that waits. `dispatched` None: read it again when it starts."""

    entry: Entry
    generation: int
    is_new: bool
    dispatched: TurnDispatched | None
    size: int


@dataclass(slots=True, eq=False)
class _Running:
    entry: Entry
    generation: int
    task: "asyncio.Task[None] | None" = None
    course: Course | None = None
    charged_tokens: int = 0


class Worker:
    """See `intake.port.Taker`.

    Args:
        tools: what courses share; the hooks about stops, the group and fairness become the worker's own.
        topic: of the pool's dispatched turns.
        slots: turns in the engine at once.
        look_ahead: turns that may wait here.
        payload_bytes: memory for the payloads of those that wait.
        stops: filled by control before `run`.
    """

    def __init__(
        self,
        tools: Tools,
        *,
        topic: str,
        slots: int,
        look_ahead: int,
        payload_bytes: int,
        stops: Stops,
        payloads: Payloads,
    ) -> None:
        self._tools = replace(
            tools,
            is_stopped=self.is_stopped,
            asks_group=self.asks_group,
            be_alone=self.be_alone,
            may_release=lambda: not self._failure.done(),
            on_started=self._on_started,
            on_tokens=self._on_tokens,
        )
        self._count_tokens = tools.on_tokens
        self._topic = topic
        self._slots = slots
        self._most = look_ahead
        self._payload_room = payload_bytes
        self._stops = stops
        self._payloads = payloads
        self._queue = LookAhead()
        self._held: dict[Source, _Held] = {}
        self._running: dict[Source, _Running] = {}
        self._busy = 0
        self._isolation = Isolation()
        self._lone: dict[Source, asyncio.Future[None]] = {}
        self._wake = asyncio.Event()
        self._is_draining = False
        self._odd_jobs: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._intake: Intake | None = None

    def attach(self, intake: Intake) -> None:
        """Say who owns the sources; called once, before anything arrives."""
        self._intake = intake

    # --- what others tell us ------------------------------------------------------------------------------------------

    def room(self) -> int:
        """See `Taker.room`."""
        return 0 if self._is_draining else max(0, self._most - len(self._held))

    def take(self, arrival: Arrival) -> None:
        """See `Taker.take`."""
        dispatched = arrival.dispatched
        if dispatched.turn is None or dispatched.conversation is None:
            return
        try:
            entry = Entry.of(dispatched, arrival.source, dispatched.turn, dispatched.conversation)
        except ContractError as error:
            self.unread(arrival.source, arrival.generation, repr(dispatched).encode(), error)
            return
        size = len(dispatched.input_text) + sum(len(message.text) for message in dispatched.messages)
        is_kept = size <= self._payload_room
        self._payload_room -= size if is_kept else 0
        self._held[entry.source] = _Held(
            entry, arrival.generation, arrival.is_new, dispatched if is_kept else None, size if is_kept else 0
        )
        if self.is_stopped(entry):
            self._start(entry, takes_slot=False)
        else:
            self._queue.add(entry)
        self._wake.set()

    def unread(self, source: Source, generation: int, value: bytes, error: ContractError) -> None:
        """See `Taker.unread`."""
        self._do(self._bury(source, generation, value, error))

    def crowd(self) -> None:
        """See `Taker.crowd`."""
        if self._intake is None:
            return
        for partition in self._intake.crowded():
            for entry in self._queue.lowest_of(self._topic, partition, _GIVE_BACK):
                self._queue.remove(entry.source)
                self._do(self._give_back(self._unhold(entry.source)))

    async def drop(self, partitions: frozenset[int]) -> None:
        """See `Taker.drop`."""
        for source in [source for source in self._held if source.partition in partitions]:
            self._queue.remove(source)
            self._unhold(source)
        there = [each for source, each in self._running.items() if source.partition in partitions]
        tasks = [each.task for each in there if each.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_DROP_S)

    def on_stop(self, turn: TurnId) -> None:
        """Somebody wants this stopped: what runs ends within a step, what waits ends without the engine."""
        for entry in self._queue.of_turn(turn):
            self._queue.remove(entry.source)
            self._start(entry, takes_slot=False)
        for each in self._running.values():
            if each.course is not None and each.entry.turn == turn:
                each.course.interrupt(Interrupt.CANCELLED)

    def is_stopped(self, entry: Entry) -> bool:
        """Whether somebody wants the turn stopped."""
        return self._stops.has(entry.turn)

    async def asks_group(self, entry: Entry) -> bool:
        """Whether the group says that the source is still ours."""
        return self._intake is not None and await self._intake.is_owner(entry.source.partition)

    async def be_alone(self, entry: Entry) -> None:
        """Return when nothing but this turn is in the engine; nothing else starts meanwhile, nor until it has left."""
        running = self._running.get(entry.source)
        if running is None or self._isolation.alone == entry.source:
            return  # it never left: its end was lost, and it goes in again
        admitted = self._lone[entry.source] = asyncio.get_running_loop().create_future()
        self._isolation.want(entry.source)
        self._admit()
        try:
            await admitted
        except asyncio.CancelledError:
            self._leave_engine(running)
            raise
        finally:
            self._lone.pop(entry.source, None)

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Start turns as slots become free, for ever.

        Raises:
            EngineDead: leave without committing.
            Exception: a bug of ours in some course; leave without committing.
        """
        while not self._failure.done():
            self._wake.clear()
            if not self._is_draining:
                self._end_overdue()
                self._fill_slots()
            with suppress(TimeoutError):
                # Not `wait_for`: in Python 3.11 it loses a cancellation that comes together with the event.
                async with asyncio.timeout(_TICK_S):
                    await self._wake.wait()
        self._failure.result()

    async def hand_over(self) -> None:
        """Start nothing more and let every running turn go at a token boundary; ends under way are finished."""
        self._is_draining = True
        for each in tuple(self._running.values()):
            if each.course is not None:
                each.course.interrupt(Interrupt.HANDED_OVER)
        tasks = [each.task for each in self._running.values() if each.task is not None]
        if tasks:
            await asyncio.wait(tasks)
        if self._odd_jobs:
            await asyncio.wait(self._odd_jobs)

    async def stop(self) -> None:
        """Cancel whatever still runs. Idempotent."""
        self._is_draining = True
        tasks = [each.task for each in self._running.values() if each.task is not None] + list(self._odd_jobs)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_DROP_S)

    @property
    def running(self) -> int:
        """Turns in the engine."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Turns that wait for a slot."""
        return len(self._queue)

    def _fill_slots(self) -> None:
        while self._busy < self._slots and self._isolation.is_open:
            entry = self._queue.next()
            if entry is None:
                return
            self._start(entry, takes_slot=True)

    def _end_overdue(self) -> None:
        for entry in self._queue.overdue(self._now_ms()):
            self._start(entry, takes_slot=False)

    def _start(self, entry: Entry, *, takes_slot: bool) -> None:
        held = self._unhold(entry.source)
        if held is None:
            return
        if takes_slot:
            self._busy += 1
            self._isolation.enter(entry.source)
        running = self._running[entry.source] = _Running(entry, held.generation, charged_tokens=entry.cost_tokens)
        running.task = asyncio.create_task(self._carry(running, held, takes_slot=takes_slot), name=entry.turn)
        running.task.add_done_callback(self._note_failure)

    async def _carry(self, running: _Running, held: _Held, *, takes_slot: bool) -> None:
        entry = held.entry
        slot = _Slot(lambda: self._free_slot(running)) if takes_slot else _Slot(lambda: None)
        timer: asyncio.TimerHandle | None = None
        try:
            dispatched = held.dispatched or await self._payload(entry.source)
            running.course = course = Course(
                self._tools,
                entry,
                dispatched,
                generation=held.generation,
                may_skip_reading=held.is_new,
                on_slot_free=slot.free,
            )
            left_s = max(0, entry.deadline_ms - self._now_ms()) / 1000
            timer = asyncio.get_running_loop().call_later(left_s, course.interrupt, Interrupt.EXPIRED)
            if self._is_draining:
                course.interrupt(Interrupt.HANDED_OVER)
            if await course.run() is Phase.FINISHED and self._intake is not None:
                self._intake.finish(entry.source, held.generation)
        finally:
            if timer is not None:
                timer.cancel()
            slot.free()
            self._leave_engine(running)
            if self._running.get(entry.source) is running:
                del self._running[entry.source]
            self._wake.set()

    def _free_slot(self, running: _Running) -> None:
        self._busy -= 1
        self._queue.done(running.entry)
        self._leave_engine(running)
        self._wake.set()

    def _leave_engine(self, running: _Running) -> None:
        # A course that was dropped may end late, when its source runs here again: that place isn't its own.
        if self._running.get(running.entry.source) is running:
            self._isolation.leave(running.entry.source)
            self._admit()

    def _admit(self) -> None:
        source = self._isolation.admit()
        admitted = None if source is None else self._lone.get(source)
        if admitted is not None and not admitted.done():
            admitted.set_result(None)
        if self._isolation.is_open:
            self._wake.set()

    # --- small acts ---------------------------------------------------------------------------------------------------

    def _unhold(self, source: Source) -> _Held | None:
        held = self._held.pop(source, None)
        if held is not None:
            self._payload_room += held.size
            if self._intake is not None:
                self._intake.has_room()
        return held

    async def _payload(self, source: Source) -> TurnDispatched:
        while True:
            try:
                return await self._payloads.read(source)
            except DependencyError as error:
                log.warning("a dispatch could not be read again: %s", error)
                await asyncio.sleep(_RETRY_S)

    async def _give_back(self, held: _Held | None) -> None:
        """Turns that were not started are the gate's again, under the next number."""
        if held is None or self._intake is None:
            return
        dispatched = held.dispatched or await self._payload(held.entry.source)
        at = instants.from_ms(self._now_ms())
        record = projecting.returned(dispatched, held.entry.source, at, worker=self._tools.worker)
        while True:
            try:
                await self._tools.outlet.publish((topics.TURNS, record), trace=dispatched.traceparent)
                break
            except RecordTooLarge:
                log.exception("a turn can't be given back", extra={"turn": dispatched.turn})
                break
            except DependencyError as error:
                log.warning("a turn could not be given back: %s", error)
                await asyncio.sleep(_RETRY_S)
        self._intake.finish(held.entry.source, held.generation)

    async def _bury(self, source: Source, generation: int, value: bytes, error: ContractError) -> None:
        letter = DeadLettered(
            id=f"{ROLE}.{source.topic}.{source.partition}.{source.offset}",
            at=instants.from_ms(self._now_ms()),
            source=source,
            role=ROLE,
            error=str(error),
            place=error.place,
            value=base64.b64encode(value[:_DEAD_LETTER_BYTES]).decode(),
        )
        log.error("%s/%d, offset %d: %s", source.topic, source.partition, source.offset, error)
        while True:
            try:
                await self._tools.outlet.publish((topics.DEAD_LETTERS, letter))
                break
            except RecordTooLarge:
                log.exception("a dead letter can't be sent")
                break
            except DependencyError as away:
                log.warning("a dead letter could not be sent: %s", away)
                await asyncio.sleep(_RETRY_S)
        if self._intake is not None:
            self._intake.finish(source, generation)

    def _do(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(job)
        self._odd_jobs.add(task)
        task.add_done_callback(self._odd_jobs.discard)
        task.add_done_callback(self._note_failure)

    def _note_failure(self, task: "asyncio.Task[None]") -> None:
        """What a task raises is told by `run`, which ends the process before anything is committed."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failure.done():
            self._failure.set_exception(error)
            self._wake.set()

    def _on_started(self, entry: Entry, started: Started) -> None:
        """The prompt was charged whole when the turn got its slot: what was in the engine's memory is given back.

        An engine may estimate first and tell better at the end: the difference to what was charged counts.
        """
        running = self._running.get(entry.source)
        if running is not None:
            read = started.prompt_tokens - started.cached_tokens
            self._queue.charge(entry, prompt_tokens=read - running.charged_tokens)
            running.charged_tokens = read

    def _on_tokens(self, entry: Entry, count: int) -> None:
        self._queue.charge(entry, generated_tokens=count)
        self._count_tokens(entry, count)

    def _now_ms(self) -> int:
        return self._tools.now_ms()


class _Slot:
    """A place in the engine, given back once however often that is said."""

    def __init__(self, on_free: Callable[[], None]) -> None:
        self._on_free: Callable[[], None] | None = on_free

    def free(self) -> None:
        on_free, self._on_free = self._on_free, None
        if on_free is not None:
            on_free()
