"""Append -> callback of the tail, by the number of live conversation topics, beside aiokafka's own consumer and lanes.

    python -m tests.bench.bench_tail [--topics 100 1000 5000 10000] [--rates 500 5000] [--seconds 6]

A hundred conversations speak at a time, each for some eight seconds, then another one wakes up; the others are quiet,
as in chat. Records of 100 bytes are appended in ticks of 5 ms, straight to their partitions; the time of a record is
taken when it is enqueued and when the reader's callback has it. Broker, appends and reader share this machine's cores.

- `tail`: `delivery/tailer`, all topics added;
- `aiokafka`: `AIOKafkaConsumer.assign` of the same topics and `getmany`, up to 1 000: it names all in each fetch;
- `lanes`: the tail on one topic of 64 partitions, everybody's records in it.

The broker's Java is as Kafka's own scripts start it, with a heap of 1 GB. With each row: CPU of broker and of this
process in % of one core, and the broker's resident memory.
"""

import argparse
import asyncio
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from delivery.tailer.kafka_tail import KafkaTail
from delivery.tailer.port import Batch
from delivery.tailer.settings import TailTuning
from infra.local.node import LocalNode, local_kafka
from infra.local.settings import LocalSettings
from infra.runtime.kafka import Appender
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.kafka_topics import TopicAdmin
from schemas import ids, topics
from schemas.topics import Topic
from schemas.turns import LogAddress
from tests.bench.report import cpu_s, environment, resident_mb, spread
from tests.support.brokers import LoopThread

TICK_S: Final = 0.005
# What was written before is read first, and its logs count as speaking for some seconds (`TailTuning.quiet_s`).
WARM_UP_S: Final = 8.0
SPEAKING: Final = 100
SPEAKS_S: Final = 8.0
LANES: Final = 64
MOST_FOR_AIOKAFKA: Final = 1000
RECORD_BYTES: Final = 100

Took = Callable[[bytes], None]


class Speakers:
    """A hundred of the addresses speak; each falls silent after a while, and another one begins."""

    def __init__(self, appender: Appender, addresses: Sequence[LogAddress]) -> None:
        self._appender = appender
        self._addresses = addresses
        self._speaking = random.sample(range(len(addresses)), min(SPEAKING, len(addresses)))
        self.sent = 0

    async def speak(self, rate: float, seconds: float) -> None:
        """So many records a second, in ticks; returns when all are acknowledged."""
        begun, base, changes = time.perf_counter(), self.sent, 0
        acks: list[asyncio.Future[object]] = []
        while (passed := time.perf_counter() - begun) < seconds:
            while changes < passed * len(self._speaking) / SPEAKS_S:
                changes += 1
                self._speaking[random.randrange(len(self._speaking))] = random.randrange(len(self._addresses))
            while self.sent - base < int(passed * rate):
                address = self._addresses[random.choice(self._speaking)]
                self.sent += 1
                value = b"%d" % time.perf_counter_ns()
                acks.append(
                    await self._appender.send_bytes(  # type: ignore[arg-type]
                        address.topic, value.ljust(RECORD_BYTES), key=b"k", partition=address.partition
                    )
                )
            await asyncio.sleep(TICK_S)
        await asyncio.gather(*acks)


@asynccontextmanager
async def tail(settings: KafkaSettings, addresses: Sequence[LogAddress], took: Took) -> AsyncIterator[None]:
    """Ours."""

    def on_batches(batches: Sequence[Batch]) -> None:
        for batch in batches:
            for entry in batch.entries:
                took(entry.value or b"")

    def on_lost(address: LogAddress) -> None:
        raise AssertionError(f"{address} is lost")

    reader = KafkaTail(settings, TailTuning(), on_batches, on_lost)
    await reader.start()
    try:
        for address in addresses:
            reader.add(address, 0)
        yield
    finally:
        await reader.stop()


@asynccontextmanager
async def consumer(settings: KafkaSettings, addresses: Sequence[LogAddress], took: Took) -> AsyncIterator[None]:
    """aiokafka's, with its defaults but for the wait, which would hold new partitions up."""
    reader = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=10)
    await reader.start()
    reader.assign([TopicPartition(settings.named(address.topic), address.partition) for address in addresses])

    async def read() -> None:
        while True:
            for records in (await reader.getmany(timeout_ms=1000)).values():
                for record in records:
                    took(record.value or b"")

    reading = asyncio.create_task(read())
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.wait({reading})
        await reader.stop()


@dataclass
class Usage:
    """CPU of the broker and of this process."""

    broker: LocalNode

    def taken(self) -> tuple[float, float, float]:
        """Broker's and own CPU seconds, and the clock."""
        return sum(map(cpu_s, self._pids())), cpu_s(os.getpid()), time.perf_counter()

    def resident_mb(self) -> float:
        """The broker's."""
        return sum(map(resident_mb, self._pids()))

    def _pids(self) -> list[int]:
        group = self.broker.pid
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group:
                found.append(int(path.parent.name))
        return found


async def measure(
    name: str,
    reader: Callable[[KafkaSettings, Sequence[LogAddress], Took], "AsyncIterator[None]"],
    settings: KafkaSettings,
    appender: Appender,
    addresses: Sequence[LogAddress],
    rate: float,
    seconds: float,
    usage: Usage,
) -> None:
    """One row."""
    latencies_ms: list[float] = []

    def took(value: bytes) -> None:
        latencies_ms.append((time.perf_counter_ns() - int(value)) / 1e6)

    async with reader(settings, addresses, took):  # type: ignore[attr-defined]
        speakers = Speakers(appender, addresses)
        await speakers.speak(rate, WARM_UP_S)
        await _settled(latencies_ms)
        latencies_ms.clear()
        before, sent = usage.taken(), speakers.sent
        await speakers.speak(rate, seconds)
        after = usage.taken()
        await _settled(latencies_ms)
        sent = speakers.sent - sent
    took_s = after[2] - before[2]
    broker, own = (100 * (after[at] - before[at]) / took_s for at in (0, 1))
    print(
        f"  {name:9} {len(addresses):6} logs, {sent / took_s:5.0f} records/s: {spread(latencies_ms, 'ms')},"
        f" {sent - len(latencies_ms)} lost; broker {broker:.0f} %, appends and reader {own:.0f} % of a core,"
        f" broker {usage.resident_mb():.0f} MB",
        flush=True,
    )


async def _settled(latencies_ms: list[float]) -> None:
    """Returns when nothing has come for half a second."""
    before = -1
    while len(latencies_ms) != before:
        before = len(latencies_ms)
        await asyncio.sleep(0.5)


async def main(arguments: argparse.Namespace, broker: LocalNode, bootstrap: str) -> None:
    """A row for each reader, number of logs and rate; topics are added and stay."""
    print(environment())
    settings = KafkaSettings(bootstrap=bootstrap, topic_prefix=f"t{os.getpid()}.", lanes=LANES, partitions=1)
    usage = Usage(broker)
    async with AsyncExitStack() as stack:
        admin = TopicAdmin(settings, "bench")
        stack.push_async_callback(admin.stop)
        appender = Appender(settings, "bench")
        await appender.start()
        stack.push_async_callback(appender.stop)
        await admin.apply([topics.TOPICS[topics.LANES]])
        lanes = [LogAddress(topics.LANES, lane) for lane in range(LANES)]
        for rate in arguments.rates:
            await measure("lanes", tail, settings, appender, lanes, rate, arguments.seconds, usage)  # type: ignore[arg-type]
        addresses: list[LogAddress] = []
        for count in arguments.topics:
            made = [topics.own_topic(ids.conversation_id(f"{number:032x}")) for number in range(len(addresses), count)]
            await _make(admin, appender, made)
            addresses += [LogAddress(topic.name, 0) for topic in made]
            readers = [("tail", tail), *([("aiokafka", consumer)] if count <= MOST_FOR_AIOKAFKA else [])]
            for rate in arguments.rates:
                for name, reader in readers:
                    await measure(name, reader, settings, appender, addresses, rate, arguments.seconds, usage)  # type: ignore[arg-type]


async def _make(admin: TopicAdmin, appender: Appender, made: Sequence[Topic]) -> None:
    """Create them in batches, and wait until each can be written: the broker acknowledges before a log exists."""
    began, first_touch_ms = time.perf_counter(), list[float]()
    for start in range(0, len(made), 50):
        await admin.create(made[start : start + 50])
    for topic in made:
        begun = time.perf_counter()
        await (await appender.send_bytes(topic.name, b"0", key=b"k", partition=0))
        first_touch_ms.append(1000 * (time.perf_counter() - begun))
    if made:
        print(
            f"  {len(made)} topics made in {time.perf_counter() - began:.1f} s; first append to each"
            f" {spread(first_touch_ms, 'ms')}, the last 100 {spread(first_touch_ms[-100:], 'ms')}",
            flush=True,
        )


def run() -> None:
    """On a broker of its own, whose CPU is counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topics", type=int, nargs="+", default=[100, 1000, 5000, 10_000])
    parser.add_argument("--rates", type=float, nargs="+", default=[500, 5000])
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = hard - 1000
    if max(arguments.topics) > most:
        print(f"the limit of open files allows {most} topics", file=sys.stderr)
        arguments.topics = [min(count, most) for count in arguments.topics]
    thread = LoopThread()
    with tempfile.TemporaryDirectory() as place:
        broker = local_kafka(Path(place) / "kafka", LocalSettings(kafka_runs_long=True, kafka_heap_mb=1024))
        try:
            bootstrap = thread.run(broker.start())
            uvloop.run(main(arguments, broker, bootstrap))
        finally:
            thread.run(broker.stop(limit_s=0))
            thread.close()


if __name__ == "__main__":
    run()
