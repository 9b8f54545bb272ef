"""The price of the log: the same simulated engine, called directly and through the whole pipeline, in one run.

    python -m tests.bench.bench_pipeline [--turns 200] [--rate 20] [--tokens 40]

Prints time to the first token, time between tokens and tokens/s of both, then where the time of a turn goes, hop by
hop, from the records' own timestamps in Kafka.
"""

import argparse
import asyncio
import itertools
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from inference_consumers.engines.port import GenerationRequest, Piece
from inference_consumers.engines.settings import SimulatedSettings
from inference_consumers.engines.simulated import SimulatedEngine
from schemas import codec
from schemas.records import TurnAccepted, TurnDelta, TurnStarted
from schemas.turns import Message, Role
from tests.bench.report import cpu_s, environment, resident_mb, spread
from tests.support.analyst import read_whole, topics_of
from tests.support.pipeline import Pipeline, start

TTFT_MS, TOKENS_PER_S, SLOTS = 50.0, 50.0, 256
SETTINGS = {
    "PARLEY_SIMULATED_TTFT_MS": str(TTFT_MS),
    "PARLEY_SIMULATED_TOKENS_PER_S": str(TOKENS_PER_S),
    "PARLEY_SIMULATED_SLOTS": str(SLOTS),
}


@dataclass
class Figures:
    """Of one side: milliseconds."""

    ttft_ms: list[float] = field(default_factory=list)
    gaps_ms: list[float] = field(default_factory=list)
    tokens: int = 0
    took_s: float = 0.0

    def print(self, name: str) -> None:
        """One block of lines."""
        print(f"{name}\n  time to first token  {spread(self.ttft_ms, 'ms')}")
        print(f"  between pieces       {spread(self.gaps_ms, 'ms')}")
        print(f"  tokens/s             {self.tokens / self.took_s:.0f}")


async def at_rate(turns: int, rate: float, one: Callable[[int], AsyncIterator[int]]) -> Figures:
    """Begin `turns` turns, `rate` a second whatever becomes of them, and time each piece that comes."""
    figures = Figures()
    begun = time.perf_counter()

    async def run(number: int) -> None:
        await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
        before, is_first = time.perf_counter(), True
        async for tokens in one(number):
            now = time.perf_counter()
            (figures.ttft_ms if is_first else figures.gaps_ms).append((now - before) * 1000)
            before, is_first = now, False
            figures.tokens += tokens

    await asyncio.gather(*(run(number) for number in range(turns)))
    figures.took_s = time.perf_counter() - begun
    return figures


async def directly(arguments: argparse.Namespace) -> Figures:
    """The engine alone, in this process."""
    engine = SimulatedEngine(SimulatedSettings(ttft_ms=TTFT_MS, tokens_per_s=TOKENS_PER_S, slots=SLOTS))
    await engine.start()
    prompt = (Message(Role.USER, f"tokens: {arguments.tokens}"),)

    async def one(number: int) -> AsyncIterator[int]:
        async for item in engine.generate(GenerationRequest(id=str(number), messages=prompt)):
            if isinstance(item, Piece) and item.token_ids:
                yield len(item.token_ids)

    figures = await at_rate(arguments.turns, arguments.rate, one)
    await engine.stop()
    return figures


async def through(pipeline: Pipeline, arguments: argparse.Namespace) -> Figures:
    """Streaming HTTP through every tier; each turn begins a conversation of its own."""
    body = {"model": "simulated", "input": f"tokens: {arguments.tokens}", "stream": True}
    headers = {"Authorization": f"Bearer {pipeline.key}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as http:

        async def one(number: int) -> AsyncIterator[int]:
            async with http.post(f"{pipeline.base_url}/v1/responses", json=body) as answer:
                answer.raise_for_status()
                async for line in answer.content:
                    if line.startswith(b'data: {"type":"response.output_text.delta"'):
                        yield len(json.loads(line[6:])["delta"].split())

        warm = argparse.Namespace(**{**vars(arguments), "turns": 40})
        await at_rate(warm.turns, warm.rate, one)
        return await at_rate(arguments.turns, arguments.rate, one)


async def hops(pipeline: Pipeline) -> None:
    """Where a turn's time goes: Kafka's own append times of its records, topic by topic."""
    append_ms: dict[str, dict[str, int]] = {}
    names = [
        name for name in await topics_of(pipeline.kafka) if name.startswith(("chat.", "inference.", "conversation"))
    ]
    for entry in await read_whole(pipeline.kafka, names):
        _note(append_ms, entry.value, entry.timestamp)
    steps = ("TurnRequested", "TurnAllowed", "turn.accepted", "TurnDispatched", "turn.started", "first delta")
    for before, after in itertools.pairwise(steps):
        taken = [times[after] - times[before] for times in append_ms.values() if before in times and after in times]
        print(f"  {before:>15} -> {after:<15} {spread(taken, 'ms')}")


def _note(append_ms: dict[str, dict[str, int]], value: bytes | None, at_ms: int) -> None:
    if value is None:
        return
    record = codec.decode(value)
    if record.turn is None:
        return
    name = "first delta" if isinstance(record, TurnDelta) and record.seq == 0 else record.type
    if isinstance(record, TurnAccepted | TurnStarted) or name != "turn.delta":
        append_ms.setdefault(record.turn, {}).setdefault(name, at_ms)


def main() -> None:
    """Run both sides and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--tokens", type=int, default=40)
    arguments = parser.parse_args()
    print(environment())
    print(f"{arguments.turns} turns, {arguments.rate}/s, {arguments.tokens} tokens each")
    print(f"engine: first token after {TTFT_MS} ms, then {TOKENS_PER_S}/s")
    alone = asyncio.run(directly(arguments))
    with tempfile.TemporaryDirectory() as folder:
        pipeline = start(Path(folder) / "data", "--engine", "simulated", environ={**SETTINGS, **os.environ})
        try:
            pids = {process["name"]: process["pid"] for process in pipeline.processes()}
            used = {name: cpu_s(pid) for name, pid in pids.items()}
            piped = asyncio.run(through(pipeline, arguments))
            alone.print("engine alone")
            piped.print("through the pipeline")
            share = (piped.tokens / piped.took_s) / (alone.tokens / alone.took_s)
            print(f"  tokens/s: {100 * share:.1f} % of the engine alone")
            for name, pid in pids.items():
                print(f"  {name:<24} {cpu_s(pid) - used[name]:6.1f} CPU s  {resident_mb(pid):7.0f} MB resident")
            asyncio.run(hops(pipeline))
        finally:
            pipeline.parley("down")


if __name__ == "__main__":
    main()
