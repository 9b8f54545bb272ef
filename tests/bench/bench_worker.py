"""What a worker adds to its engine: the same simulated engine called directly and through claim, screen and log.

    python -m tests.bench.bench_worker [--turns 200] [--rate 20] [--tokens 40] [--burst 256]

The worker is a process of its own on a real Kafka; turns are dispatched by hand, so that no other service is in it, and
a follower of the lanes notes when each delta can be read. Two loads: turns at a rate (latency), and all slots full
until a backlog is done (tokens/s). A takeover is timed as well: SIGKILL in mid-answer to the successor's next delta.
"""

import argparse
import asyncio
import os
import signal
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from inference_consumers.engines.port import GenerationRequest, Piece
from inference_consumers.engines.settings import SimulatedSettings
from inference_consumers.engines.simulated import SimulatedEngine
from infra.local.node import local_kafka
from infra.runtime.kafka_follow import Follower
from infra.runtime.kafka_log import Entry
from schemas import codec, topics
from schemas.records import TurnDelta, TurnEnded
from schemas.turns import LogAddress, Message, Role
from tests.bench.report import cpu_s, environment, percentile, resident_mb, spread
from tests.inference_consumers.pool import Pool, dispatch_of, open_pool

TTFT_MS, TOKENS_PER_S, SLOTS = 50.0, 50.0, 128
LANES = 16
# All slots busy at this rate ask for more than a core can pass on alone: what is lost is the worker's price.
BURST_TOKENS_PER_S = 60.0


@dataclass
class Turn:
    """When what was seen of a turn, in seconds of one clock."""

    begun: float
    pieces: list[tuple[float, int]] = field(default_factory=list)
    ended: float | None = None


@dataclass
class Seen:
    """All turns of one load."""

    turns: dict[str, Turn] = field(default_factory=dict)
    is_done: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: int = 0

    def on_entry(self, _partition: int, entry: Entry) -> None:
        """A record of a lane can be read now."""
        record = codec.decode(entry.value or b"null")
        turn = self.turns.get(record.turn or "")
        if turn is None:
            return
        if isinstance(record, TurnDelta):
            turn.pieces.append((time.perf_counter(), record.tokens))
        elif isinstance(record, TurnEnded):
            turn.ended = time.perf_counter()
            if sum(each.ended is not None for each in self.turns.values()) == self.wanted:
                self.is_done.set()


def told(name: str, turns: list[Turn]) -> tuple[list[float], list[float]]:
    """Print one side and return its times to the first token and between pieces, in ms."""
    first = [(turn.pieces[0][0] - turn.begun) * 1000 for turn in turns if turn.pieces]
    gaps = [
        (after[0] - before[0]) * 1000
        for turn in turns
        for before, after in zip(turn.pieces, turn.pieces[1:], strict=False)
    ]
    tokens = sum(count for turn in turns for _at, count in turn.pieces)
    took_s = max(turn.ended or 0 for turn in turns) - min(turn.begun for turn in turns)
    print(f"{name}\n  time to first token  {spread(first, 'ms')}\n  between pieces       {spread(gaps, 'ms')}")
    print(f"  tokens/s             {tokens / took_s:.0f}")
    return first, gaps


async def bare(turns: int, rate: float, tokens: int, tokens_per_s: float) -> list[Turn]:
    """The engine alone, in this process."""
    settings = SimulatedSettings(ttft_ms=TTFT_MS, tokens_per_s=tokens_per_s, slots=SLOTS)
    engine = SimulatedEngine(settings)
    await engine.start()

    async def one() -> Turn:
        turn = Turn(time.perf_counter())
        message = Message(Role.USER, f"tokens: {tokens}")
        async for piece in engine.generate(GenerationRequest(id=uuid.uuid4().hex, messages=(message,))):
            if isinstance(piece, Piece):
                turn.pieces.append((time.perf_counter(), len(piece.token_ids)))
        turn.ended = time.perf_counter()
        return turn

    running = []
    async for _number in paced(turns, rate):
        running.append(asyncio.create_task(one()))
    done = await asyncio.gather(*running)
    await engine.stop()
    return list(done)


async def paced(turns: int, rate: float) -> AsyncIterator[int]:
    """`turns` numbers, `rate` a second; 0 = all at once."""
    begun = time.perf_counter()
    for number in range(turns):
        if rate:
            await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
        yield number


async def through(pool: Pool, turns: int, rate: float, tokens: int) -> list[Turn]:
    """The same through the worker."""
    seen = Seen(wanted=turns)
    follower = Follower(pool.settings, topics.LANES, seen.on_entry)
    await follower.start()
    acks = []
    async for number in paced(turns, rate):
        dispatched = dispatch_of(
            f"tokens: {tokens}", log=LogAddress(topics.LANES, number % LANES), tenant=f"t{number % 8}", deadline_s=600
        )
        seen.turns[dispatched.turn or ""] = Turn(time.perf_counter())
        acks.append(await pool.appender.send(f"inference.{dispatched.pool}", dispatched))
    await asyncio.gather(*acks)
    await asyncio.wait_for(seen.is_done.wait(), 300)
    await follower.stop()
    return list(seen.turns.values())


async def takeovers(pool: Pool, count: int) -> list[float]:
    """Milliseconds from a kill to the successor's first delta."""
    pauses: list[float] = []
    for _ in range(count):
        async with pool.worker(PARLEY_SIMULATED_TOKENS_PER_S="50") as first, pool.worker() as _second:
            sent = [dispatch_of("tokens: 400", log=LogAddress(topics.LANES, 0)) for _ in range(4)]
            seen = Seen({each.turn or "": Turn(time.perf_counter()) for each in sent}, wanted=4)
            follower = Follower(pool.settings, topics.LANES, seen.on_entry)
            await follower.start()
            for number, each in enumerate(sent):
                await pool.again(each, partition=number % 2)
            while not all(len(turn.pieces) > 5 for turn in seen.turns.values()):  # noqa: ASYNC110 - a bench, not a test
                await asyncio.sleep(0.05)
            first.signal(signal.SIGKILL)
            await asyncio.wait_for(seen.is_done.wait(), 60)
            await follower.stop()
            for turn in seen.turns.values():
                gap = max(b[0] - a[0] for a, b in zip(turn.pieces, turn.pieces[1:], strict=False))
                pauses += [gap * 1000] if gap > 1 else []
    return pauses


@asynccontextmanager
async def brokers() -> AsyncIterator[str]:
    """Kafka as named in the environment, or one of our own."""
    named = os.environ.get("PARLEY_TEST_KAFKA")
    if named:
        yield named
        return
    with tempfile.TemporaryDirectory() as place:
        node = local_kafka(Path(place))
        address = await node.start()
        try:
            yield address
        finally:
            await node.stop()


async def run(turns: int, rate: float, tokens: int, burst: int, kills: int) -> None:
    """Print all loads."""
    print(environment())
    environ = {
        "PARLEY_SIMULATED_TTFT_MS": str(TTFT_MS),
        "PARLEY_SIMULATED_SLOTS": str(SLOTS),
        "PARLEY_LOG_LEVEL": "info",
    }
    async with brokers() as kafka, open_pool(kafka, f"b{uuid.uuid4().hex[:8]}.", lanes=LANES) as pool:
        print(f"-- {turns} turns of {tokens} tokens, {rate:g} turns/s, {TOKENS_PER_S:g} tokens/s a turn")
        alone = told("engine alone", await bare(turns, rate, tokens, TOKENS_PER_S))
        async with pool.worker(**environ, PARLEY_SIMULATED_TOKENS_PER_S=str(TOKENS_PER_S)) as worker:
            await through(pool, 20, 20, 5)  # connections, caches
            before_s, began = cpu_s(worker.process.pid), time.perf_counter()
            worked = told("through the worker", await through(pool, turns, rate, tokens))
            share = (cpu_s(worker.process.pid) - before_s) / (time.perf_counter() - began)
            print(f"  worker: {share:.2f} cores, {resident_mb(worker.process.pid):.0f} MB resident")
        for name, mine, theirs in (
            ("time to first token", worked[0], alone[0]),
            ("between pieces", worked[1], alone[1]),
        ):
            added = [percentile(mine, share) - percentile(theirs, share) for share in (0.5, 0.99)]
            print(f"  added {name}: p50 {added[0]:.1f} ms, p99 {added[1]:.1f} ms")
        print(f"-- {burst} turns of {4 * tokens} tokens at once on {SLOTS} slots of {BURST_TOKENS_PER_S:g} tokens/s")
        told("engine alone", await bare(burst, 0, 4 * tokens, BURST_TOKENS_PER_S))
        async with pool.worker(**environ, PARLEY_SIMULATED_TOKENS_PER_S=str(BURST_TOKENS_PER_S)) as worker:
            told("through the worker", await through(pool, burst, 0, 4 * tokens))
        if kills:
            print(f"-- {kills} workers killed in mid-answer: pause as a reader sees it")
            print(f"  {spread(await takeovers(pool, kills), 'ms')}")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--burst", type=int, default=256)
    parser.add_argument("--kills", type=int, default=3)
    given = parser.parse_args()
    asyncio.run(run(given.turns, given.rate, given.tokens, given.burst, given.kills))


if __name__ == "__main__":
    main()
