"""Turns a second through the gate on one core, and what an idle conversation costs it in memory.

`python -m tests.bench.bench_gate [--kafka HOST:PORT] [--turns N] [--idle N]`. The pure part runs the reducer with its
codec, prompt and records; with `--kafka` a gate in a process of its own works off turns that lie in `chat.moderated`,
answered by a worker that only ends them. CPU time of that process alone is counted: the broker and the worker beside it
change the wall time, not the figure. Prints machine and spread; asserts nothing.
"""

import argparse
import asyncio
import os
import platform
import statistics
import sys
import tempfile
import time
import uuid
from functools import partial
from pathlib import Path

import psutil

from infra.runtime.band_settings import BandSettings
from schemas import codec, topics
from schemas.records import TurnAllowed, TurnCompleted
from schemas.turns import Source
from stream_processors.enrichment import composing, deadlines, planning, reading
from stream_processors.enrichment.counting import measure_of
from stream_processors.enrichment.effects import AppendAccepted, Dispatch
from stream_processors.enrichment.facts import Facts, Limits, Plan
from stream_processors.enrichment.gate import reduce
from stream_processors.enrichment.prompt import Prompt
from stream_processors.enrichment.state import OpenTurn
from stream_processors.enrichment.state_codec import pack, unpack
from stream_processors.routing.fleet import snapshot
from tests.stream_processors.enrichment.world import POOL, World, allowed, answer, new_conversation

_ROUNDS = 5


def pure(turns: int) -> list[float]:
    """Turns a second: decode, reduce, plan, pack, compose, encode for one TurnAllowed each, no Kafka."""
    from tests.stream_processors.enrichment.world import _deployment  # noqa: PLC0415 - the tests' own

    deployment = _deployment(POOL, "simulated")
    fleet = snapshot([deployment], [], 0)
    measure = measure_of(None, 4096)
    planner = planning.Planner(
        fleet=fleet, look_up=lambda _turn: None, measure=lambda _deployment: measure, tenant_instructions="Be brief.",
        answer_tokens=512, turn_s=None,
    )  # fmt: skip
    raws = [codec.encode(allowed(new_conversation(), "tell me a story of a gate " * 4)) for _ in range(turns)]
    rates = []
    for _ in range(_ROUNDS):
        started = time.process_time()
        for raw in raws:
            record = codec.decode(raw)
            addressed = reading.read(topics.MODERATED, 7, record, {})
            assert addressed is not None
            assert isinstance(record, TurnAllowed)
            prompts: dict[str, Prompt | None] = {}
            plan = partial(_plan, planner, record, prompts)
            facts = Facts(now_ms=int(time.time() * 1000), plan=plan, is_alive=fleet.is_alive)
            outcome = reduce(addressed.conversation, None, addressed.given, facts)
            assert outcome.state is not None
            assert outcome.state.log is not None
            unpack(addressed.conversation, pack(outcome.state))
            deadlines.due_ms(outcome.state, Limits(), facts.now_ms)
            here = composing.scene(outcome.state, outcome.state.log, facts.now_ms)
            for effect in outcome.effects:
                if isinstance(effect, Dispatch):
                    sent = composing.dispatched(
                        here, effect.turn, record, prompt=prompts[effect.turn.turn], deployment=deployment,
                        band=BandSettings(),
                    )  # fmt: skip
                    codec.encode(sent)
                    codec.headers(sent, "bench")
                elif isinstance(effect, AppendAccepted):
                    codec.encode(composing.accepted(here, effect.turn, record))
        rates.append(turns / (time.process_time() - started))
    return rates


def _plan(planner: planning.Planner, record: TurnAllowed, prompts: dict[str, Prompt | None], turn: OpenTurn) -> Plan:
    planned, prompts[turn.turn] = planner.plan(turn, record.request)
    return planned


async def through_kafka(bootstrap: str, turns: int, idle: int) -> None:
    """A whole gate: CPU seconds per turn with its TurnCompleted, and memory per idle conversation."""
    world = World(bootstrap, f"b{uuid.uuid4().hex[:10]}.")
    await world.start(with_workers=False)
    with tempfile.TemporaryDirectory() as directory:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.stream_processors.enrichment.dying_gate", bootstrap, world.kafka.topic_prefix,
            directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            await process.stdout.readline()
            seen = psutil.Process(process.pid)
            await _round(world, 200)
            rates = []
            for _ in range(_ROUNDS):
                cpu, wall = sum(seen.cpu_times()[:2]), time.monotonic()
                await _round(world, turns)
                used_s, took_s = sum(seen.cpu_times()[:2]) - cpu, time.monotonic() - wall
                rates.append(turns / used_s)
                print(f"  {turns} turns: {used_s:.2f} s CPU, {took_s:.2f} s wall")
            _tell("turns/s per core through the gate (TurnAllowed to TurnCompleted read)", rates)
            before = seen.memory_info().rss
            done = 0
            while done < idle:
                await _round(world, min(1000, idle - done))
                done += 1000
            if idle:
                grown = seen.memory_info().rss - before
                disk = _size(Path(directory))
                print(f"idle conversations: {idle}, {grown / idle:.0f} bytes RAM each, {disk / idle:.0f} bytes on disk")
        finally:
            process.kill()
            await process.wait()
            await world.stop()


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


async def _round(world: World, turns: int) -> None:
    """That many new conversations with one turn each, answered as they are dispatched."""
    asked = [allowed(new_conversation(), "tell me a story of a gate " * 4, deadline_s=600) for _ in range(turns)]
    for future in [await world.appender.send(topics.MODERATED, each) for each in asked]:
        await future
    answers: list[asyncio.Task[TurnCompleted]] = []
    while len(answers) < turns:
        topic, partition, offset, sent = await world._work.get()
        answers.append(asyncio.create_task(answer(world.appender, sent, Source(topic, partition, offset), 1)))
    await asyncio.gather(*answers)


def _tell(what: str, rates: list[float]) -> None:
    print(f"{what}: median {statistics.median(rates):.0f}, {min(rates):.0f} to {max(rates):.0f} of {len(rates)}")


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", default=os.environ.get("PARLEY_TEST_KAFKA"))
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--idle", type=int, default=0)
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    _tell("turns/s per core, pure part", pure(given.turns))
    if given.kafka:
        asyncio.run(through_kafka(given.kafka, given.turns, given.idle))


if __name__ == "__main__":
    main()
