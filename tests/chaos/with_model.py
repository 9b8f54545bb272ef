"""`python -m tests.chaos.with_model`: the same promise with a real model, greedy sampling and killed workers.

Each prompt is answered once undisturbed, and once while the workers are killed in mid-answer. Prints how many texts
are equal; one that isn't is shown from where the two part, since a model's arithmetic may differ with the batch that it
runs in. Exits 1 when an answer did not end as the undisturbed one did, or when nobody was killed under one.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.bench.report import environment
from tests.chaos import audit, senders
from tests.chaos.audit import Facts
from tests.chaos.plan import Tier
from tests.chaos.senders import Accepted, Answer, Sender
from tests.support.pipeline import Pipeline, start

PROMPTS: Final = (
    "Say hello in five languages.",
    "Why is the sky blue?",
    "Tell a short story of a lighthouse.",
    "List the planets and one fact about each.",
    "How does a bicycle stay upright?",
    "Write a recipe for pancakes.",
    "What is a hash table?",
    "Describe a forest in autumn.",
)
_MODEL: Final = "smollm2-135m-instruct"
# Long enough that a kill falls into it: some seconds at 10 to 15 tokens/s.
_TOKENS: Final = 120
_SHOWN: Final = 60
_KILLS: Final = 4


async def _answers(pipeline: Pipeline, name: str) -> list[Answer]:
    """Every prompt's answer, asked side by side, each in a conversation of its own."""
    sender = Sender(pipeline.base_url, pipeline.key, senders.Counts(), random.Random(name))
    body = {"model": _MODEL, "max_output_tokens": _TOKENS, "temperature": 0}
    try:
        return await asyncio.gather(
            *(
                sender.streamed({**body, "input": text}, f"{name}-{number}", Accepted())
                for number, text in enumerate(PROMPTS)
            )
        )
    finally:
        await sender.close()


async def _kill_workers(pipeline: Pipeline, chance: random.Random, killed: list[str]) -> None:
    """A worker of the default pool, a few times, once both have loaded their model: else nobody would ever answer."""
    while len(killed) < _KILLS:
        await asyncio.sleep(chance.uniform(4, 8))
        workers = [
            each
            for each in await asyncio.to_thread(pipeline.processes)
            if each["role"] == Tier.WORKER.value and each["name"] != "closing"
        ]
        if all(each["state"] == "ready" for each in workers):
            victim = chance.choice(workers)
            os.kill(victim["pid"], signal.SIGKILL)
            killed.append(victim["name"])


async def _run(pipeline: Pipeline, seed: int) -> tuple[list[Answer], list[Answer], list[str], Facts]:
    calm = await _answers(pipeline, f"calm-{seed}")
    killed: list[str] = []
    killing = asyncio.create_task(_kill_workers(pipeline, random.Random(seed), killed))
    try:
        struck = await _answers(pipeline, f"struck-{seed}")
    finally:
        killing.cancel()
        await asyncio.wait({killing})
    return calm, struck, killed, await audit.gather(pipeline)


def _told(number: int, calm: Answer, struck: Answer, facts: Facts) -> str:
    claims = facts.turn(struck.turn).claims
    if calm.text == struck.text:
        return f"  prompt {number}: equal, {len(struck.text or '')} characters, {claims} claims"
    pairs = zip(calm.text or "", struck.text or "", strict=False)
    shared = next((at for at, (one, other) in enumerate(pairs) if one != other), 0)
    parted = f"{(calm.text or '')[shared : shared + _SHOWN]!r} | {(struck.text or '')[shared : shared + _SHOWN]!r}"
    return f"  prompt {number}: parts behind {shared} characters, {claims} claims: {parted}"


def main() -> int:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        pipeline = start(Path(folder) / "data", "--engine", "torch", "--workers", "2", environ={})
        try:
            begun_s = time.monotonic()
            calm, struck, killed, facts = asyncio.run(_run(pipeline, arguments.seed))
        finally:
            pipeline.parley("down")
    print(environment())
    print(f"seed {arguments.seed}: {len(PROMPTS)} prompts twice in {time.monotonic() - begun_s:.0f} s")
    print(f"workers killed: {len(killed)} ({', '.join(killed)})")
    pairs = list(zip(calm, struck, strict=True))
    equal = sum(before.text == after.text for before, after in pairs)
    print(f"texts equal: {equal} of {len(pairs)}")
    for number, (before, after) in enumerate(pairs):
        print(_told(number, before, after, facts))
    taken_over = sum(facts.turn(after.turn).claims > 1 for after in struck)
    print(f"answers that were taken over: {taken_over}")
    is_whole = all(before.status == after.status for before, after in pairs)
    return 0 if is_whole and taken_over else 1


if __name__ == "__main__":
    sys.exit(main())
