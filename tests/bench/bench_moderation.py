"""Turns a second through moderation on one core, what it adds to a turn's way, and what a character costs a screen.

    python -m tests.bench.bench_moderation [--kafka HOST:PORT] [--turns 20000] [--rules 1000]

The service is a process of its own that works off turns lying in `chat.requests`; its CPU is what the kernel counted
for it (user, system, all threads). Without `--kafka` or PARLEY_TEST_KAFKA a Kafka is started for the run.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from infra.local.node import local_kafka
from infra.runtime.kafka import Appender, KafkaSettings
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_topics import TopicAdmin
from schemas import codec, topics
from schemas.turns import Source, Stage
from stream_processors.moderation.judging import judgement
from stream_processors.moderation.policy import Policy, PolicySet, Rule
from stream_processors.moderation.publication import checked
from stream_processors.moderation.publishing import push_policy
from stream_processors.moderation.screen import Screen
from tests.bench.report import cpu_s, environment, range_of, resident_mb, spread
from tests.stream_processors.records import Log, requested
from tests.support.waiting import until

ROUNDS = 5
TEXT = "Could you tell me, in a few sentences, how the tide comes and goes, and why it is late every day? " * 2
USED = (topics.REQUESTS, topics.MODERATED, topics.VERDICTS, topics.POLICIES, topics.DEAD_LETTERS)


def words(count: int) -> list[str]:
    """Made-up words over common letters: near misses are frequent."""
    chance = random.Random(7)
    return ["".join(chance.choices("etaoinshrdlucmfwyp", k=chance.randint(5, 10))) for _ in range(count)]


def policies(count: int) -> PolicySet:
    """One policy with that many words, and a pattern."""
    rules = [Rule(rule="words", texts=tuple(words(count)))] if count else []
    return PolicySet([Policy("bench", 1, "No.", rules)])


def pure(count: int) -> None:
    """No Kafka: what a turn and a character cost."""
    held = policies(count)
    values = [codec.encode(requested(TEXT)) for _ in range(500)]
    source = Source(topics.REQUESTS, 0, 0)
    turns: list[float] = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for value in values:
            for output in judgement(value, source, held, "2026-01-31T12:00:00.000Z").outputs:
                codec.encode(output.record)
        turns.append(len(values) / (time.process_time() - began))
    print(f"  decode, judge, encode, {count} words: {range_of(turns, 'turns/s per core')}")
    characters: list[float] = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(50):
            screen = Screen(held, Stage.OUTPUT, "acme")
            for at in range(0, len(TEXT), 4):
                screen.feed(TEXT[at : at + 4])
            screen.finish()
        characters.append(1e9 * (time.process_time() - began) / (50 * len(TEXT)))
    print(f"  output screen fed 4 characters at a time: {range_of(characters, 'ns a character')}")


@asynccontextmanager
async def moderation(kafka: KafkaSettings) -> AsyncIterator[int]:
    """`parley run moderation` in a process of its own; its pid."""
    environ = {"PARLEY_KAFKA_BOOTSTRAP": kafka.bootstrap, "PARLEY_KAFKA_TOPIC_PREFIX": kafka.topic_prefix}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.cli.main", "run", "moderation",
        env={**os.environ, **environ, "PARLEY_LOG_LEVEL": "error"},
    )  # fmt: skip
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def through_kafka(kafka: KafkaSettings, turns: int, rules: int) -> None:
    """Work off what lies there, then single turns."""
    admin, appender, reader = TopicAdmin(kafka, "bench"), Appender(kafka, "gateway"), LogReader(kafka, "bench")
    log = Log(reader)
    await admin.create([topics.TOPICS[name] for name in USED])
    file = checked({"policy": "bench", "rules": [{"rule": "words", "texts": words(rules)}]})
    await push_policy(kafka, file)
    await appender.start()
    # The first hundred warm it up: imports, the group, the automaton.
    await asyncio.gather(*[await appender.send(topics.REQUESTS, requested(TEXT)) for _ in range(100)])
    async with moderation(kafka) as pid:
        await log.at_least(topics.MODERATED, 100, limit_s=60)
        os.kill(pid, signal.SIGSTOP)
        await asyncio.gather(*[await appender.send(topics.REQUESTS, requested(TEXT)) for _ in range(turns)])
        before, began = cpu_s(pid), time.perf_counter()
        os.kill(pid, signal.SIGCONT)
        await until(partial(_has, log, turns + 100), limit_s=120, every_s=0.02)
        wall, cpu = time.perf_counter() - began, cpu_s(pid) - before
        print(f"  {turns} turns worked off: {turns / cpu:.0f} turns/s per core of CPU, {turns / wall:.0f} /s wall")
        await _single(appender, reader)
        print(f"  resident: {resident_mb(pid):.0f} MB")
    await appender.stop()
    await reader.stop()
    await admin.delete(USED)
    await admin.stop()


async def _has(log: Log, number: int) -> bool:
    return await log.count(topics.MODERATED) >= number


async def _single(appender: Appender, reader: LogReader) -> None:
    """20 turns a second for 10 s: from the acknowledgement of the request until its verdict can be read."""
    added: list[float] = []
    for _ in range(200):
        turn = requested(TEXT)
        placed = await appender.append(topics.REQUESTS, turn)
        asked = time.perf_counter()
        _, start = await reader.bounds(topics.MODERATED, placed.partition)
        while True:
            entries = await reader.read_all(topics.MODERATED, placed.partition, max(0, start - 1))
            if any(entry.value is not None and codec.decode(entry.value).turn == turn.turn for entry in entries):
                break
        added.append(1000 * (time.perf_counter() - asked))
        await asyncio.sleep(max(0.0, 0.05 - added[-1] / 1000))
    print(f"  request acknowledged to verdict read, 20 turns/s: {spread(added, 'ms')}")


async def run(address: str | None, turns: int, rules: int) -> None:
    """Against that Kafka, or one of its own."""
    prefix = f"bench{uuid.uuid4().hex[:8]}."
    if address is not None:
        await through_kafka(KafkaSettings(bootstrap=address, topic_prefix=prefix), turns, rules)
        return
    with tempfile.TemporaryDirectory() as data:
        node = local_kafka(Path(data) / "kafka")
        try:
            await through_kafka(KafkaSettings(bootstrap=await node.start(), topic_prefix=prefix), turns, rules)
        finally:
            await node.stop()


def main() -> None:
    """Print what is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", default=os.environ.get("PARLEY_TEST_KAFKA"), metavar="HOST:PORT")
    parser.add_argument("--turns", type=int, default=20_000)
    parser.add_argument("--rules", type=int, default=1000)
    arguments = parser.parse_args()
    print(f"moderation: {environment()}")
    pure(0)
    pure(arguments.rules)
    asyncio.run(run(arguments.kafka, arguments.turns, arguments.rules))


if __name__ == "__main__":
    main()
