"""Following a topic on a real Kafka: every record once, in order, across a broker's death; refresh is linearizable."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from infra.local.node import local_kafka
from infra.runtime.kafka import Appender, KafkaSettings
from infra.runtime.kafka_follow import Follower
from infra.runtime.kafka_log import Entry, LogReader
from infra.runtime.kafka_topics import TopicAdmin
from schemas import codec, topics
from schemas.errors import KafkaUnavailable
from tests.infra.runtime.conftest import stop_requested

TOPIC = topics.REQUESTS


class Seen:
    """What a follower handed on."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, Entry]] = []

    def __call__(self, partition: int, entry: Entry) -> None:
        self.entries.append((partition, entry))

    def ids(self, partition: int) -> list[int]:
        """The ids of one partition's records, in the order in which they came."""
        return [int(codec.decode(each.value or b"").id) for number, each in self.entries if number == partition]


async def fill(appender: Appender, first: int, last: int) -> None:
    """Append these numbers, each to the partition of its last two bits."""
    sent = [await appender.send(TOPIC, stop_requested(n), partition=n % 4) for n in range(first, last)]
    await asyncio.gather(*sent)


@asynccontextmanager
async def following(settings: KafkaSettings, seen: Seen, since_ms: int | None = None) -> AsyncIterator[Follower]:
    follower = Follower(settings, TOPIC, seen, since_ms=since_ms)
    await follower.start()
    try:
        yield follower
    finally:
        await follower.stop()


async def test_all_there_is_then_all_that_comes(appender: Appender, kafka_settings: KafkaSettings) -> None:
    """Once started all that was written before is handed on; what comes later follows, each partition in order."""
    await fill(appender, 0, 400)
    seen = Seen()
    async with following(kafka_settings, seen) as follower:
        assert len(seen.entries) == 400
        assert follower.is_live
        await fill(appender, 400, 800)
        await follower.refresh()
        assert follower.lag == 0
    assert [seen.ids(number) for number in range(4)] == [list(range(number, 800, 4)) for number in range(4)]


async def test_refresh_sees_what_was_acknowledged_before_it(appender: Appender, kafka_settings: KafkaSettings) -> None:
    """After a refresh nothing that was acknowledged before the call is missing, every time."""
    seen = Seen()
    async with following(kafka_settings, seen) as follower:
        for number in range(100):
            await appender.append(TOPIC, stop_requested(number), partition=number % 4)
            await follower.refresh()
            assert len(seen.entries) == number + 1


async def test_from_a_time_on(appender: Appender, kafka_settings: KafkaSettings, reader: LogReader) -> None:
    """With a time only records of then and later are handed on."""
    await fill(appender, 0, 8)
    newest = max([(await reader.read_all(TOPIC, number, 0))[-1].at_ms for number in range(4)])
    seen = Seen()
    async with following(kafka_settings, seen, since_ms=newest + 60_000):
        assert seen.entries == []
    async with following(kafka_settings, seen, since_ms=0):
        assert len(seen.entries) == 8


async def test_an_empty_topic_is_read_to_its_end(kafka_settings: KafkaSettings) -> None:
    """Nothing written yet is no reason to wait."""
    async with asyncio.timeout(10), following(kafka_settings, Seen()) as follower:
        await follower.refresh()


async def test_what_the_reader_raises_ends_the_following(appender: Appender, kafka_settings: KafkaSettings) -> None:
    """An error of `on_entry` is never swallowed: start or the next refresh raises it, and the follower isn't live."""

    def broken(_partition: int, _entry: Entry) -> None:
        raise ZeroDivisionError

    follower = Follower(kafka_settings, TOPIC, broken)
    await follower.start()
    await fill(appender, 0, 1)
    with pytest.raises(ZeroDivisionError):
        await follower.refresh()
    assert not follower.is_live
    await follower.stop()
    second = Follower(kafka_settings, TOPIC, broken)
    with pytest.raises(ZeroDivisionError):
        await second.start()


async def test_a_start_is_bounded(kafka_settings: KafkaSettings) -> None:
    """Without a broker or a topic a start fails in time with an error of ours."""
    away = KafkaSettings(bootstrap="127.0.0.1:1", request_timeout_s=0.2)
    for settings, topic in ((away, TOPIC), (kafka_settings, "chat.nope")):
        async with asyncio.timeout(20):
            with pytest.raises(KafkaUnavailable):
                await Follower(settings, topic, Seen()).start(within_s=1)


async def test_a_start_may_take_long_while_it_gets_on(appender: Appender, kafka_settings: KafkaSettings) -> None:
    """A long topic is read to its end however long that takes; only standing still is limited."""
    big = replace(stop_requested(), tenant="x" * 200_000)
    for _ in range(20):
        await appender.append(TOPIC, big, partition=0)
    taken: list[int] = []

    def slow(_partition: int, entry: Entry) -> None:
        until = time.monotonic() + 0.1
        while time.monotonic() < until:
            time.sleep(0.01)  # a reader that works for a tenth of a second
        taken.append(entry.offset)

    follower = Follower(kafka_settings, TOPIC, slow)
    await follower.start(within_s=1)
    assert taken == list(range(20))
    await follower.stop()


async def test_stopped_is_stopped(kafka_settings: KafkaSettings) -> None:
    """A refresh after the stop fails instead of waiting for ever, and a second stop does nothing."""
    async with following(kafka_settings, Seen()) as follower:
        pass
    await follower.stop()
    with pytest.raises(KafkaUnavailable):
        await follower.refresh(within_s=1)


async def test_a_broker_that_dies_and_returns(tmp_path: Path) -> None:
    """A broker killed in mid-follow returns: all go on, and nothing is lost, doubled or out of order."""
    node = local_kafka(tmp_path)
    settings = KafkaSettings(bootstrap=await node.start())
    admin = TopicAdmin(settings, "test")
    await admin.create([topics.TOPICS[TOPIC]])
    appender, reader, seen = Appender(settings, "gateway"), LogReader(settings, "test"), Seen()
    await appender.start()
    async with following(settings, seen) as follower:
        await fill(appender, 0, 100)
        await follower.refresh()
        await node.stop(limit_s=0)
        under_way = asyncio.create_task(fill(appender, 100, 120))
        with pytest.raises(KafkaUnavailable):
            await follower.refresh(within_s=1)
        await node.start()
        await under_way
        await follower.refresh(within_s=60)
        assert follower.is_live
        assert [seen.ids(number) for number in range(4)] == [list(range(number, 120, 4)) for number in range(4)]
        assert len(await reader.read_all(TOPIC, 0, 0)) == 30
    await appender.stop()
    await reader.stop()
    await admin.stop()
    await node.stop()


async def test_who_starts_before_the_broker_waits_for_it(tmp_path: Path) -> None:
    """Appender, reader and follower that start while the broker is away go on when it comes, within their limits."""
    node = local_kafka(tmp_path)
    settings = KafkaSettings(bootstrap=await node.start())
    admin = TopicAdmin(settings, "test")
    await admin.create([topics.TOPICS[TOPIC]])
    await node.stop(limit_s=0)
    appender, reader, seen = Appender(settings, "gateway"), LogReader(settings, "test"), Seen()
    follower = Follower(settings, TOPIC, seen)
    starting = asyncio.gather(appender.start(), follower.start(), reader.bounds(TOPIC, 0))
    await node.start()
    await starting
    await appender.append(TOPIC, stop_requested(), partition=0)
    await follower.refresh()
    assert len(seen.entries) == 1
    for each in (appender, reader, follower, admin):
        await each.stop()
    await node.stop()
