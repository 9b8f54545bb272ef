"""The long faults by name: what was done, what clients were told meanwhile, how long until all was well again.

    python -m tests.bench.outages [NAME ...] [--kafka-s 60] [--store-s 600] [--frozen-s 15]

On a pipeline with a Kafka and a Cassandra of its own (2 gateways, 3 workers, 2 delivery nodes). Through each fault a
client asks twice a second, half of the time in a conversation that the gate knows, and readers follow running answers.
Afterwards every accepted turn is looked for in the store, on chat.usage and on chat.turns. Exit 1 if one is missing,
is there twice, or if a reader was shown anything but its answer.
"""

import argparse
import asyncio
import collections
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench.report import environment, percentile
from tests.support.accounts import account
from tests.support.asking import Answer, Asker
from tests.support.contract import conversation_of, words
from tests.support.own_brokers import OwnBroker, breakable
from tests.support.pipeline import Pipeline
from tests.support.readers import Seen, SocketReader, StreamReader
from tests.support.successor import frozen, successor

TOKENS_PER_S: Final = 10
SETTINGS: Final = {
    "PARLEY_SIMULATED_TOKENS_PER_S": str(TOKENS_PER_S),
    "PARLEY_SIMULATED_TTFT_MS": "20",
    "PARLEY_SIMULATED_SLOTS": "64",
}
# Running answers last so long that a fault of some seconds falls in their middle.
WORDS: Final = 200
READERS: Final = 4
ASK_EVERY_S: Final = 1.0
# All is well when so many requests in a row were accepted, each within a second.
WELL: Final = 5
WELL_WITHIN_S: Final = 1.0
# As long as the client waits for that behind a fault.
PATIENCE_S: Final = 120.0
# A thawed process finds out that it was expelled at its next heartbeat: 1 to 3 s.
PROBATION_S: Final = 6.0
OK: Final = 200


@dataclass(frozen=True, slots=True)
class Place:
    """What the faults happen to."""

    pipeline: Pipeline
    kafka: OwnBroker
    cassandra: OwnBroker


@dataclass(frozen=True, slots=True)
class Fault:
    """One named fault.

    Args:
        done: what is done, in words.
        acted: does it to the place within its block.
        lasts_s: how long.
    """

    name: str
    done: str
    acted: Callable[[Place], AbstractAsyncContextManager[None]]
    lasts_s: float


def faults(given: argparse.Namespace) -> list[Fault]:
    """All of them, the longest last."""
    kafka_s, store_s, frozen_s = given.kafka_s, given.store_s, given.frozen_s
    processors = [
        Fault(
            f"{role}-frozen",
            f"{role} SIGSTOP {frozen_s:g} s beside a second one",
            partial(_zombie, role=role),
            frozen_s,
        )
        for role in ("moderation", "enrichment", "persistence")
    ]
    return [
        Fault("worker-frozen", f"a worker SIGSTOP {frozen_s:g} s", _frozen_worker, frozen_s),
        *processors,
        Fault("kafka-killed", "Kafka SIGKILL, started again at once", lambda place: place.kafka.killed(), 0),
        Fault("kafka-frozen", f"Kafka SIGSTOP {kafka_s:g} s", lambda place: place.kafka.frozen(), kafka_s),
        Fault("kafka-gone", f"Kafka SIGKILL, away {kafka_s:g} s", lambda place: place.kafka.killed(), kafka_s),
        Fault("store-gone", f"Cassandra SIGKILL, away {store_s:g} s", lambda place: place.cassandra.killed(), store_s),
    ]


@asynccontextmanager
async def _frozen_worker(place: Place) -> AsyncIterator[None]:
    listed = await asyncio.to_thread(place.pipeline.processes)
    with frozen(next(each["pid"] for each in listed if each["name"] == "inference-1")):
        yield


@asynccontextmanager
async def _zombie(place: Place, role: str) -> AsyncIterator[None]:
    process = await asyncio.to_thread(place.pipeline.process, role)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(successor(place.pipeline, role))
        with frozen(process["pid"]):
            yield
        # It must show what it does beside its successor before that one goes.
        await asyncio.sleep(PROBATION_S)


async def run(place: Place, fault: Fault) -> bool:
    """Do it, watch it, print its block. True if nothing was lost, doubled or wrong."""
    streams = [StreamReader(place.pipeline, f"tokens: {WORDS}") for _ in range(READERS)]
    reading = [asyncio.create_task(each.run()) for each in streams]
    await asyncio.gather(*(each.known.wait() for each in streams))
    sockets = [SocketReader(place.pipeline, each.conversation, each.turn) for each in streams]
    reading += [asyncio.create_task(each.run()) for each in sockets]
    strangers = Asker(place.pipeline, ASK_EVERY_S)
    first = await strangers.ask()
    assert first.turn is not None, f"not well before the fault: {first}"
    known = Asker(place.pipeline, ASK_EVERY_S, conversation=conversation_of(first.turn))
    async with strangers.asking(), known.asking():
        await asyncio.sleep(1)
        began = time.monotonic()
        async with fault.acted(place):
            await asyncio.sleep(fault.lasts_s)
            ended = time.monotonic()
        back = time.monotonic()
        await _well([strangers, known], back)
    seen = await asyncio.gather(*reading)
    turns = [*strangers.accepted, *known.accepted, *(each.turn for each in streams)]
    kept = await account(place.kafka.node.address, place.cassandra.address, turns, limit_s=PATIENCE_S)
    whole = words(WORDS)
    wrong = [each for each in seen if each.text != whole]
    print(f"-- {fault.name}: {fault.done}")
    for name, asker in (("new conversations", strangers), ("a known conversation", known)):
        _tell(name, asker.answers, began, ended)
    print(f"  readers' longest silence  {_silence(seen, began)} s, {len(wrong)} of {len(seen)} texts wrong")
    print(f"  all stored and billed {kept.took_s:.1f} s behind the last request")
    lost, doubled = kept.lost(turns), kept.doubled(turns)
    places = f"{sum(map(bool, kept.rows.values()))} rows, {len(kept.bills)} bills, {len(kept.ends)} ends"
    codes = dict(collections.Counter(kept.undispatched.values()))
    print(f"  {len(turns)} turns accepted: {places}; {len(lost)} lost, {len(doubled)} double; undispatched {codes}")
    sys.stdout.flush()
    return not (wrong or lost or doubled)


async def _well(askers: Sequence[Asker], since: float) -> None:
    """Wait until each asker's newest requests were accepted quickly, or for as long as patience lasts."""

    def is_well(asker: Asker) -> bool:
        newest = sorted((each for each in asker.answers if each.asked_at > since), key=lambda each: each.asked_at)
        return len(newest) >= WELL and all(map(_is_quick, newest[-WELL:]))

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while not all(map(is_well, askers)):  # noqa: ASYNC110 - a bench, not a test
                await asyncio.sleep(ASK_EVERY_S)


def _is_quick(answer: Answer) -> bool:
    return answer.status == OK and answer.answered_at - answer.asked_at < WELL_WITHIN_S


def _tell(name: str, answers: Sequence[Answer], began: float, ended: float) -> None:
    during = [each for each in answers if began <= each.asked_at and each.answered_at <= max(ended, began + 1)]
    statuses = collections.Counter(each.status for each in answers if each.answered_at > began)
    bare = sum(each.status == 503 and each.retry_after is None for each in answers)
    waits = [each.answered_at - each.asked_at for each in answers if each.answered_at > began]
    good = sorted(each.answered_at for each in answers if each.asked_at > ended and each.status == OK)
    slow = [each.answered_at for each in answers if each.asked_at > ended and not _is_quick(each)]
    told = ", ".join(f"{count} x {status or 'refused'}" for status, count in sorted(statuses.items()))
    print(f"  {name}: {told}; {bare} x 503 without Retry-After")
    print(f"    answered within p50 {percentile(waits, 0.5):.2f}, max {max(waits):.2f} s; {len(during)} in the fault")
    if good:
        steadily_s = max([*slow, ended]) - ended
        print(f"    accepted again {good[0] - ended:.1f} s behind it, steadily {steadily_s:.1f} s behind it")


def _silence(seen: Sequence[Seen], began: float) -> str:
    gaps = sorted(each.longest_gap(began, began + 3600) for each in seen)
    return f"{gaps[0]:.1f} to {gaps[-1]:.1f}"


async def _all(place: Place, wanted: Sequence[Fault]) -> int:
    bad = 0
    for fault in wanted:
        bad += not await run(place, fault)
    return bad


def main() -> int:
    """Read the arguments, run those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--kafka-s", type=float, default=60.0)
    parser.add_argument("--store-s", type=float, default=600.0)
    parser.add_argument("--frozen-s", type=float, default=15.0)
    given = parser.parse_args()
    known = faults(given)
    strangers = set(given.names) - {each.name for each in known}
    if strangers:
        parser.error(f"no fault {min(strangers)}: there are {', '.join(each.name for each in known)}")
    wanted = [each for each in known if not given.names or each.name in given.names]
    print(environment(), flush=True)
    size = ("--engine", "simulated", "--workers", "3", "--delivery", "2", "--gateways", "2")
    with (
        tempfile.TemporaryDirectory() as folder,
        breakable(Path(folder), *size, environ=SETTINGS) as (pipeline, kafka, cassandra),
    ):
        return asyncio.run(_all(Place(pipeline, kafka, cassandra), wanted))


if __name__ == "__main__":
    sys.exit(main())
