"""What a reader sees when a process on the way of its answer is killed, kind by kind.

    python -m tests.bench.bench_pauses [KIND ...] [--samples 100] [--turns 32] [--words 120] [--tokens-per-s 10]

A whole `parley up` (2 gateways, 3 workers, 2 delivery nodes, simulated engine). In rounds: some
turns are begun, each is read over a stream of HTTP and over a WebSocket, one process is killed by SIGKILL in the middle
of all answers, and `parley up` starts it again. A sample is a reader that the kill concerned: whose connection it cut,
whose turn was claimed again, or, with Kafka, every one. Its pause is its longest silence behind the kill, less its
usual one. The next round begins when all answers have ended, and a text that isn't exact ends the bench.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas import codec, topics
from schemas.records import UsageRecorded
from tests.bench.report import environment, percentile
from tests.support.analyst import read_whole
from tests.support.answers import Running, running
from tests.support.pipeline import Pipeline, start
from tests.support.waiting import until
from tests.support.workers import busiest

SETTINGS: Final = {"PARLEY_SIMULATED_TTFT_MS": "20", "PARLEY_SIMULATED_SLOTS": "64"}
KINDS: Final = ("inference", "delivery", "gateway", "kafka")
# Its restart and the group's two rebalances are over before the next kill: each pause is one kill's own.
BACK_S: Final = 90.0
# A cut that comes so soon behind a kill is the kill's.
CUT_S: Final = 1.0
# Less than a word apart at this pace: two readers of one answer are told the same at the same time.
LATE_S: Final = 0.25


@dataclass(slots=True)
class Samples:
    """Of one kind. Seconds.

    Args:
        pauses: of the readers that the kill concerned; others: of those that it didn't.
        late: tokens that a stream's reader got more than LATE_S later than the socket's reader of the same turn.
        twice: tokens that a dead worker had made and not released, turn by turn.
    """

    pauses: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    twice: list[int] = field(default_factory=list)
    kills: int = 0


async def kill(pipeline: Pipeline, kind: str, running: int) -> float:
    """Kill a process of that kind, of the workers the busiest; return the instant."""
    if kind == "inference":
        pid = await busiest(pipeline, running)
    else:
        pid = (await asyncio.to_thread(pipeline.process, kind))["pid"]
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def take(samples: Samples, kind: str, answers: Sequence[Running], killed_at: float, tokens_per_s: float) -> None:
    """Add what the readers of one round saw."""
    for answer in answers:
        taken_over = [at for attempt, at in answer.socket.seen.claims if attempt > 1]
        for seen in answer.both:
            is_cut = any(killed_at <= at <= killed_at + CUT_S for at in seen.cuts)
            is_concerned = kind == "kafka" or bool(taken_over) or is_cut
            pause = max(0.0, seen.longest_gap(killed_at, float("inf")) - seen.usual_gap(killed_at))
            (samples.pauses if is_concerned else samples.others).append(pause)
        stream, socket = answer.both
        if kind == "gateway" and stream.cuts:
            samples.late.append(_late(answer))
        if kind == "inference" and taken_over:
            # The engine's pace is known, so what it had made at the kill is too; what was released by then was seen.
            first = socket.pieces[0].at
            made = int((killed_at - first) * tokens_per_s) + 1
            samples.twice.append(max(0, made - socket.words_by(taken_over[0])))


def _late(answer: Running) -> int:
    """Words that the stream's reader got later than the socket's."""
    stream, socket = ([piece.at for piece in seen.pieces for _ in piece.text.split()] for seen in answer.both)
    return sum(mine - other > LATE_S for mine, other in zip(stream, socket, strict=True))


async def measured(pipeline: Pipeline, kind: str, given: argparse.Namespace) -> Samples:
    """Rounds until there are samples enough."""
    samples = Samples()
    while len(samples.pauses) < given.samples:
        async with running(pipeline, given.turns, given.words) as answers:
            killed_at = await kill(pipeline, kind, len(answers))
            samples.kills += 1
        take(samples, kind, answers, killed_at, given.tokens_per_s)
        await until(lambda: _is_whole(pipeline), limit_s=BACK_S, every_s=1.0)
    return samples


async def _is_whole(pipeline: Pipeline) -> bool:
    return all(each["state"] == "ready" for each in await asyncio.to_thread(pipeline.processes))


async def regenerated(pipeline: Pipeline) -> list[int]:
    """`regenerated_tokens` of every turn that had more than one attempt."""
    bills: dict[str, UsageRecorded] = {}
    for entry in await read_whole(pipeline.kafka, [topics.USAGE]):
        record = codec.decode(entry.value or b"null")
        if isinstance(record, UsageRecorded):
            bills[str(record.turn)] = record
    return [bill.regenerated_tokens for bill in bills.values() if bill.attempts > 1]


def told(kind: str, samples: Samples) -> None:
    """Print one kind's block."""
    print(f"-- {kind} SIGKILLed {samples.kills} times")
    print(f"  pause of the readers concerned    {_spread(samples.pauses)}")
    if samples.others:
        print(f"  longest silence of the others     {_spread(samples.others)}")
    if samples.late:
        late = samples.late
        print(f"  tokens late on a stream that was cut  n={len(late)} p50={percentile(late, 0.5)} max={max(late)}")
    if samples.twice:
        twice = samples.twice
        print(f"  tokens made and lost with a worker    n={len(twice)} p50={percentile(twice, 0.5)} max={max(twice)}")
    sys.stdout.flush()


def _spread(pauses: Sequence[float]) -> str:
    ranks = " ".join(f"p{round(100 * share)}={percentile(pauses, share):.2f}" for share in (0.5, 0.9, 0.99))
    return f"n={len(pauses)} {ranks} max={max(pauses):.2f} s"


async def run(pipeline: Pipeline, given: argparse.Namespace) -> None:
    """All kinds. Raises AssertionError when a reader has not exactly the words due."""
    for kind in given.kinds or KINDS:
        samples = await measured(pipeline, kind, given)
        told(kind, samples)
    twice = await regenerated(pipeline)
    if twice:
        print(f"regenerated_tokens of turns taken over: n={len(twice)} max={max(twice)}")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--turns", type=int, default=32)
    parser.add_argument("--words", type=int, default=120)
    parser.add_argument("--tokens-per-s", type=float, default=10.0)
    given = parser.parse_args()
    if not set(given.kinds) <= set(KINDS):
        parser.error(f"kinds are {', '.join(KINDS)}")
    print(environment(), flush=True)
    size = ("--engine", "simulated", "--workers", "3", "--delivery", "2", "--gateways", "2")
    with tempfile.TemporaryDirectory() as folder:
        pipeline = start(
            Path(folder) / "data", *size, environ={**SETTINGS, "PARLEY_SIMULATED_TOKENS_PER_S": str(given.tokens_per_s)}
        )
        try:
            asyncio.run(run(pipeline, given))
        finally:
            pipeline.parley("down")


if __name__ == "__main__":
    main()
