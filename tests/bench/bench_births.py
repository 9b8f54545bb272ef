"""Births a second with own topics, and where they overflow to lanes, while topics are deleted as fast as they are born.

    python -m tests.bench.bench_births [--gateways 2] [--seconds 15] [--rates 25,50,100,150] [--per-s 100] [--live 100]

First the broker alone: topics made in batches until they are usable, and deleted until their directories are gone. Then
gateways share spares while conversations are born at each rate; the oldest topics beyond `--live` are deleted. Kafka is
one of this script's own, on the same cores. Prints the machine; asserts nothing.
"""

import argparse
import asyncio
import os
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import uvloop

from infra.local.node import local_kafka
from infra.runtime.clock import SYSTEM
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.kafka_topics import TopicAdmin
from producers.publishing.kafka_outgoing import KafkaOwnTopics
from producers.publishing.layouts import BATCH
from schemas import ids
from schemas.ids import ConversationId
from tests.bench.report import environment, spread
from tests.producers.support.spare_gateway import SpareGateway, prepared
from tests.support.waiting import until

ALONE: Final = 1000
TICK_S: Final = 0.01
DRAIN_S: Final = 120.0


def directories(place: Path) -> int:
    """How many own topics have a directory, those that are being deleted included."""
    return sum("conversation." in entry.name for entry in os.scandir(place))


async def alone(own: KafkaOwnTopics, place: Path) -> None:
    """The broker's own speed, nothing else running."""
    made = [ids.conversation_id(ids.uuid7_hex(SYSTEM.wall_ms(), os.urandom(10))) for _ in range(ALONE)]
    began = time.perf_counter()
    batches = []
    for first in range(0, ALONE, BATCH):
        batch_began = time.perf_counter()
        await own.make(made[first : first + BATCH])
        batches.append((time.perf_counter() - batch_began) * 1000)
    took_s = time.perf_counter() - began
    print(f"broker alone: {ALONE / took_s:.0f} topics/s usable, batches of {BATCH}: {spread(batches, 'ms')}")
    began = time.perf_counter()
    for first in range(0, ALONE, BATCH):
        await own.unmake(made[first : first + BATCH])
    acked_s = time.perf_counter() - began
    gone_s = await drained(place, began)
    print(f"  deleted: {ALONE / acked_s:.0f} topics/s acknowledged, {ALONE / gone_s:.0f} directories/s gone")


async def drained(place: Path, began: float) -> float:
    """Seconds from `began` until no own topic has a directory."""

    async def is_empty() -> bool:
        return directories(place) == 0

    await until(is_empty, limit_s=DRAIN_S)
    return time.perf_counter() - began


async def at_rate(gateways: Sequence[SpareGateway], rate: float, seconds: float, live: int, place: Path) -> None:
    """Births spread evenly over the gateways; their topics go when so many younger ones are live."""
    born: deque[ConversationId] = deque()
    own = lanes = deleted = 0
    first_lane_s: float | None = None
    deleting: asyncio.Task[None] | None = None
    waits = []
    began = time.perf_counter()
    while (now_s := time.perf_counter() - began) < seconds:
        while own + lanes < rate * now_s:
            asked = time.perf_counter()
            birth = await gateways[(own + lanes) % len(gateways)].births.birth(None)
            waits.append((time.perf_counter() - asked) * 1000)
            if birth.retired:
                lanes += 1
                first_lane_s = now_s if first_lane_s is None else first_lane_s
            else:
                own += 1
                born.append(birth.conversation)
        if len(born) > live and (deleting is None or deleting.done()):
            batch = [born.popleft() for _ in range(min(BATCH, len(born) - live))]
            deleted += len(batch)
            deleting = asyncio.create_task(gateways[0].own.unmake(batch))
        await asyncio.sleep(TICK_S)
    took_s = time.perf_counter() - began
    if deleting is not None:
        await deleting
    behind = directories(place) - len(await gateways[0].own.there())
    overflow = "no lane" if first_lane_s is None else f"first lane after {first_lane_s:.1f} s"
    print(
        f"  {rate:g} births/s asked: {own / took_s:.1f} own topics/s, {lanes / took_s:.1f} lanes/s ({overflow}), "
        f"{deleted / took_s:.1f} deletes/s, {behind} directories more than topics; birth {spread(waits, 'ms')}"
    )
    while born:
        await gateways[0].own.unmake([born.popleft() for _ in range(min(BATCH, len(born)))])


async def run(count: int, seconds: float, rates: Sequence[float], per_s: float, live: int) -> None:
    """Print all."""
    print(environment())
    with tempfile.TemporaryDirectory() as data:
        node = local_kafka(Path(data))
        settings = KafkaSettings(bootstrap=await node.start(), topic_prefix=f"b{uuid.uuid4().hex[:8]}.")
        place = Path(data) / "data"
        async with AsyncExitStack() as stack:
            stack.push_async_callback(node.stop)
            admin = TopicAdmin(settings, "bench")
            stack.push_async_callback(admin.stop)
            await prepared(settings)
            await alone(KafkaOwnTopics(admin), place)
            gateways = [SpareGateway(settings, most=5000, target=32, per_s=per_s) for _ in range(count)]
            began = time.perf_counter()
            for gateway in gateways:
                stack.push_async_callback(gateway.stop)
                await gateway.start()
            await gateways[0].own_birth()
            first_s = time.perf_counter() - began
            print(f"{count} gateways, {per_s:g} spares/s: first own topic {first_s:.2f} s after a start")
            for rate in rates:
                await at_rate(gateways, rate, seconds, live, place)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gateways", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rates", default="25,50,100,150")
    parser.add_argument("--per-s", type=float, default=100.0)
    parser.add_argument("--live", type=int, default=100)
    given = parser.parse_args()
    rates = [float(each) for each in given.rates.split(",")]
    uvloop.run(run(given.gateways, given.seconds, rates, given.per_s, given.live))


if __name__ == "__main__":
    main()
