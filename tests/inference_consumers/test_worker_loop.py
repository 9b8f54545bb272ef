"""The worker's loop in this process: a log in memory, a scripted engine, a group that only notes what it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from inference_consumers.control.stops import Stops
from inference_consumers.engines.port import Answer, GenerationRequest, Started
from inference_consumers.intake.port import Arrival
from inference_consumers.worker import Worker
from schemas import topics
from schemas.errors import ContractError, EngineDead, KafkaUnavailable
from schemas.records import DeadLettered, Record, TurnDispatched, TurnEnded, TurnReleased, TurnReturned, TurnStarted
from schemas.turns import LogAddress, Reason, Source
from tests.inference_consumers.generating.courses import Stage
from tests.inference_consumers.pool import dispatch_of
from tests.inference_consumers.scripted_engine import ScriptedEngine, said
from tests.support.logs import started
from tests.support.waiting import until

TOPIC = "inference.default"


@dataclass
class Group:
    """See `intake.port.Intake`."""

    finished: list[Source] = field(default_factory=list)
    full: frozenset[int] = frozenset()
    rooms: int = 0

    def finish(self, source: Source, generation: int) -> None:
        """Note it."""
        assert generation == 5
        self.finished.append(source)

    def crowded(self) -> frozenset[int]:
        """What a test says."""
        return self.full

    def has_room(self) -> None:
        """Count."""
        self.rooms += 1

    async def is_owner(self, _partition: int) -> bool:
        """Never asked here."""
        return True

    async def has_finished(self, count: int) -> None:
        """Wait for so many."""

        async def ask() -> bool:
            return len(self.finished) >= count

        await until(ask, every_s=0.001)


@dataclass
class Payloads:
    """See `worker.Payloads`."""

    dispatched: dict[Source, TurnDispatched] = field(default_factory=dict)
    failures: int = 0
    reads: int = 0

    async def read(self, source: Source) -> TurnDispatched:
        """The dispatch, after the failures asked for."""
        self.reads += 1
        if self.failures:
            self.failures -= 1
            raise KafkaUnavailable("as asked")
        return self.dispatched[source]


@dataclass
class House:
    """A worker with all around it."""

    worker: Worker
    group: Group
    payloads: Payloads
    stage: Stage
    stops: Stops
    offset: int = 0

    def arrive(self, dispatched: TurnDispatched, *, partition: int = 0) -> Source:
        """Hand the worker a turn."""
        source = Source(TOPIC, partition, self.offset)
        self.offset += 1
        self.payloads.dispatched[source] = dispatched
        self.worker.take(Arrival(source=source, dispatched=dispatched, generation=5, is_new=False))
        return source

    def ends(self) -> list[tuple[str, Reason]]:
        """What ended, and how, in order."""
        ended = [record for record in self.stage.log.records if isinstance(record, TurnEnded)]
        return [(record.input_text, record.reason) for record in ended]


@asynccontextmanager
async def _house(engine: ScriptedEngine, *, runs: bool = True, **more: Any) -> AsyncIterator[House]:
    stage, group, payloads, stops = Stage(engine), Group(), Payloads(), Stops(10**12)
    options: dict[str, Any] = {"topic": TOPIC, "slots": 1, "look_ahead": 10, "payload_bytes": 10_000} | more
    tools = replace(stage.tools(), now_ms=lambda: 1_800_000_000_000)
    worker = Worker(tools, stops=stops, payloads=payloads, **options)
    worker.attach(group)
    running = asyncio.create_task(worker.run()) if runs else None
    yield House(worker, group, payloads, stage, stops)
    if running is not None:
        running.cancel()
        await asyncio.wait({running})
    await worker.stop()


def _turn(text: str, **more: Any) -> TurnDispatched:
    return dispatch_of(text, **({"deadline_at": "2099-01-01T00:00:00.000Z"} | more))


async def test_one_slot_runs_one_turn_at_a_time() -> None:
    """With one slot turns follow one another, and each is finished at its own source."""
    engine = ScriptedEngine(said("a"))
    async with _house(engine) as house:
        sources = [house.arrive(_turn(text)) for text in ("one", "two", "three")]
        await house.group.has_finished(3)
        assert house.group.finished == sources
        assert [text for text, _ in house.ends()] == ["one", "two", "three"]
        assert (house.worker.running, house.worker.waiting) == (0, 0)
        assert house.worker.room() == 10
        assert house.group.rooms == 3


async def test_the_least_served_tenant_is_next() -> None:
    """A tenant with many turns that came first doesn't keep the other waiting for all of them."""
    script = said("a", is_open=False)
    async with _house(ScriptedEngine(script)) as house:
        for number in range(4):
            house.arrive(_turn(f"a{number}", tenant="a"))
        house.arrive(_turn("b0", tenant="b"))
        await asyncio.sleep(0)
        script.is_open.set()
        await house.group.has_finished(5)
        assert [text for text, _ in house.ends()].index("b0") == 1


async def test_a_prompt_is_charged_once_however_often_it_is_told() -> None:
    """An engine that estimates a prompt and counts it at the end costs its tenant the count, not both."""
    engine = ScriptedEngine(said("a", finish=None))
    async with _house(engine) as house:
        house.arrive(_turn("one"))

        async def runs() -> bool:
            return bool(house.stage.log.records) and engine.open_generations == 1

        await until(runs, every_s=0.001)
        [running] = house.worker._running.values()
        service = house.worker._queue.service
        house.worker._on_started(running.entry, Started(prompt_tokens=30, cached_tokens=0))
        told = service("acme", running.entry.priority)
        house.worker._on_started(running.entry, Started(prompt_tokens=30, cached_tokens=0))
        assert service("acme", running.entry.priority) == told
        house.worker._on_started(running.entry, Started(prompt_tokens=40, cached_tokens=0))
        assert service("acme", running.entry.priority) > told


async def test_payloads_beyond_the_room_are_read_again() -> None:
    """What isn't kept in memory is read from its place when it starts, again while Kafka is away."""
    async with _house(ScriptedEngine(said("a")), payload_bytes=0) as house:
        house.payloads.failures = 1
        house.arrive(_turn("one"))
        await house.group.has_finished(1)
        assert house.payloads.reads == 2


async def test_a_full_look_ahead_has_no_room() -> None:
    """As many as the setting says may wait."""
    async with _house(ScriptedEngine(said("a")), runs=False, look_ahead=3) as house:
        for number in range(3):
            assert house.worker.room() == 3 - number
            house.arrive(_turn("x"))
        assert house.worker.room() == 0


async def test_crowded_partitions_are_given_back() -> None:
    """The lowest waiting turns of a crowded partition go back to the gate and are finished here."""
    async with _house(ScriptedEngine(said("a")), runs=False) as house:
        mine = [house.arrive(_turn(text), partition=1) for text in ("one", "two")]
        other = house.arrive(_turn("other"), partition=0)
        house.group.full = frozenset({1})
        house.stage.outlet.failures = 1
        house.worker.crowd()
        await house.group.has_finished(2)
        assert sorted(house.group.finished, key=lambda source: source.offset) == mine
        returned = [record for _topic, record in house.stage.outlet.facts]
        assert all(isinstance(record, TurnReturned) for record in returned)
        assert {record.source for record in returned if isinstance(record, TurnReturned)} == set(mine)
        assert house.worker.waiting == 1
        assert other not in house.group.finished


async def test_lost_partitions_are_dropped_at_once() -> None:
    """When `drop` returns nothing of the partition runs or waits, and nothing of it is finished."""
    engine = ScriptedEngine(said("a", finish=None))
    async with _house(engine, slots=2) as house:
        house.arrive(_turn("runs"), partition=0)
        kept = house.arrive(_turn("stays"), partition=1)
        house.arrive(_turn("waits"), partition=0)

        async def both_run() -> bool:
            return engine.open_generations == 2

        await until(both_run, every_s=0.001)
        await house.worker.drop(frozenset({0}))
        assert engine.open_generations == 1
        assert house.worker.waiting == 0
        assert house.group.finished == []
        turn = house.payloads.dispatched[kept].turn
        assert turn is not None
        house.stops.add(turn, 10**13)
        house.worker.on_stop(turn)
        await house.group.has_finished(1)
        assert house.group.finished == [kept]


async def test_overdue_turns_end_without_a_slot() -> None:
    """A waiting turn whose deadline has passed is ended while the slot is taken."""
    engine = ScriptedEngine(said("a", finish=None))
    async with _house(engine) as house:
        house.arrive(_turn("runs"))
        late = house.arrive(_turn("late", deadline_at="2001-01-01T00:00:00.000Z"))
        await house.group.has_finished(1)
        assert house.group.finished == [late]
        assert house.ends() == [("late", Reason.EXPIRED)]


def _suspected(house: House, text: str, *, deaths: int = 2) -> TurnDispatched:
    """A turn that met so many deaths in company, as its log tells."""
    turn = _turn(text)
    assert turn.turn is not None
    for number in range(1, deaths + 1):
        claim = replace(started(turn.turn, number), worker=f"dead{number}", dispatch=1, source=Source(TOPIC, 9, 9))
        house.stage.log.records.append(claim)
    return replace(turn, dispatch=2)


def _claims(house: House) -> list[tuple[str | None, bool]]:
    """Who was claimed here, in order, and whether alone."""
    claims = [each for each in house.stage.log.records if isinstance(each, TurnStarted) and each.worker == "w1"]
    return [(each.turn, each.alone) for each in claims]


async def test_a_suspected_turn_runs_alone_and_then_the_others_go_on() -> None:
    """It waits until what runs has left the engine, nothing starts meanwhile, and what waits goes on behind it."""
    first, others = said("a", is_open=False), said("b")
    engine = ScriptedEngine(first, others)
    async with _house(engine, slots=3) as house:
        runs, waits = _turn("runs"), _turn("waits")
        house.arrive(runs)
        suspected = _suspected(house, "suspected")

        async def begun() -> bool:
            return engine.open_generations == 1

        await until(begun, every_s=0.001)
        house.arrive(suspected)

        async def wishes() -> bool:
            return not house.worker._isolation.is_open

        await until(wishes, every_s=0.001)
        house.arrive(waits)
        assert (house.worker.running, house.worker.waiting) == (2, 1)
        assert engine.open_generations == 1
        first.is_open.set()
        await house.group.has_finished(3)
        assert [text for text, _ in house.ends()] == ["runs", "suspected", "waits"]
        assert _claims(house) == [(runs.turn, False), (suspected.turn, True), (waits.turn, False)]
        assert house.worker._isolation.is_open


async def test_a_suspected_turn_whose_ends_are_lost_waits_for_nobody() -> None:
    """Alone already, it goes in again as often as its end is lost, and what waits goes on behind it."""
    async with _house(ScriptedEngine(said("a"), said("a"), said("a"), said("b"))) as house:
        log, lost = house.stage.log, 2
        append, suspected = log.send, _suspected(house, "suspected")

        async def send(address: LogAddress, record: Record, *, trace: str | None = None) -> "asyncio.Future[int]":
            nonlocal lost
            if isinstance(record, TurnEnded) and record.turn == suspected.turn and lost:
                lost -= 1
                log.fail_next(lands=False)
            return await append(address, record, trace=trace)

        log.send = send  # type: ignore[method-assign,assignment]
        house.arrive(suspected)
        house.arrive(_turn("waits"))
        await house.group.has_finished(2)
        assert lost == 0
        assert sorted(house.ends()) == [("suspected", Reason.STOP), ("waits", Reason.STOP)]
        assert house.worker._isolation.is_open


async def test_suspected_turns_run_one_at_a_time() -> None:
    """Though there are slots for all of them, each has the engine to itself."""
    engine, most = ScriptedEngine(said("a")), 0
    async with _house(engine, slots=4) as house:
        turns = [_suspected(house, f"s{number}") for number in range(4)]
        play = engine.generate

        def counted(request: GenerationRequest) -> Answer:
            nonlocal most
            most = max(most, engine.open_generations + 1)
            return play(request)

        engine.generate = counted  # type: ignore[method-assign]
        for turn in turns:
            house.arrive(turn)
        await house.group.has_finished(4)
        assert most == 1
        assert [alone for _turn, alone in _claims(house)] == [True] * 4


async def test_a_suspected_turn_that_stops_waiting_keeps_nobody_out() -> None:
    """A stop ends it without the engine, and what it kept out starts."""
    first = said("a", is_open=False)
    engine = ScriptedEngine(first, said("b"))
    async with _house(engine, slots=2) as house:
        house.arrive(_turn("runs"))

        async def begun() -> bool:
            return engine.open_generations == 1

        await until(begun, every_s=0.001)
        suspected = _suspected(house, "suspected")
        house.arrive(suspected)

        async def wishes() -> bool:
            return not house.worker._isolation.is_open

        await until(wishes, every_s=0.001)
        house.arrive(_turn("waits"))
        assert suspected.turn is not None
        house.stops.add(suspected.turn, 10**13)
        house.worker.on_stop(suspected.turn)
        await house.group.has_finished(2)
        assert house.ends() == [("suspected", Reason.CANCELLED), ("waits", Reason.STOP)]
        first.is_open.set()
        await house.group.has_finished(3)


async def test_a_dropped_partition_takes_its_suspected_turns_along() -> None:
    """A turn that waited to be alone is the next owner's, and the others here go on."""
    first = said("a", is_open=False)
    engine = ScriptedEngine(first, said("b"))
    async with _house(engine, slots=2) as house:
        house.arrive(_turn("runs"), partition=0)

        async def begun() -> bool:
            return engine.open_generations == 1

        await until(begun, every_s=0.001)
        house.arrive(_suspected(house, "suspected"), partition=1)

        async def wishes() -> bool:
            return not house.worker._isolation.is_open

        await until(wishes, every_s=0.001)
        await house.worker.drop(frozenset({1}))
        house.arrive(_turn("waits"), partition=0)
        await house.group.has_finished(1)
        assert house.ends() == [("waits", Reason.STOP)]
        first.is_open.set()


async def test_a_dead_engine_ends_the_loop() -> None:
    """`run` raises what the engine said, nothing was finished, and nobody is told that this worker lives."""
    engine = ScriptedEngine(said("a", finish=None), said(fails=EngineDead("gone")))
    async with _house(engine, runs=False, slots=2) as house:
        house.arrive(_turn("beside it"))
        house.arrive(_turn("x"))
        with pytest.raises(EngineDead, match="gone"):
            await asyncio.wait_for(house.worker.run(), 10)
        await house.worker.stop()
        assert house.group.finished == []
        assert not [record for record in house.stage.log.records if isinstance(record, TurnReleased)]


async def test_broken_bytes_are_buried_then_finished() -> None:
    """What can't be read is finished once it is in dead.letters, with its bytes and place."""
    async with _house(ScriptedEngine(said("a")), runs=False) as house:
        house.stage.outlet.failures = 1
        source = Source(TOPIC, 0, 3)
        house.worker.unread(source, 5, b"\x00broken", ContractError("not JSON", place="byte 0"))
        await house.group.has_finished(1)
        [(topic, letter)] = house.stage.outlet.facts
        assert topic == topics.DEAD_LETTERS
        assert isinstance(letter, DeadLettered)
        assert (letter.source, letter.place, letter.value) == (source, "byte 0", "AGJyb2tlbg==")


async def test_a_hand_over_starts_nothing_more() -> None:
    """While it is handed over a worker takes nothing; waiting turns stay unfinished for the next owner."""
    engine = ScriptedEngine(said("a", finish=None))
    async with _house(engine) as house:
        house.arrive(_turn("runs"))
        house.arrive(_turn("waits"))

        async def shown() -> bool:
            return any(record.type == "turn.delta" for record in house.stage.log.records)

        await until(shown, every_s=0.001)
        await house.worker.hand_over()
        assert house.worker.room() == 0
        assert engine.open_generations == 0
        assert house.group.finished == []
        assert house.ends() == []
