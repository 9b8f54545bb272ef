"""The tail on a real broker: logs that come, go, come again, grow large, vanish, and fall silent."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from delivery.tailer.kafka_tail import KafkaTail
from delivery.tailer.port import Batch
from delivery.tailer.settings import TailTuning
from infra.local.node import local_kafka
from infra.runtime.kafka import Appender
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.kafka_topics import TopicAdmin
from schemas import topics
from schemas.turns import LogAddress
from tests.delivery.scene import fresh_conversation
from tests.support.brokers import LoopThread
from tests.support.second_broker import second_broker
from tests.support.waiting import until

LIMIT_S = 30.0


class Bench:
    """A tail, what it handed on, and a pen for logs."""

    def __init__(self, settings: KafkaSettings, tuning: TailTuning) -> None:
        self.read: dict[LogAddress, list[tuple[int, bytes | None]]] = {}
        self.lost: list[LogAddress] = []
        self.tail = KafkaTail(settings, tuning, self.take, self.lost.append, role="test")
        self.admin = TopicAdmin(settings, "test")
        self.appender = Appender(settings, "test")
        self.reader = LogReader(settings, "test")
        self.heard = asyncio.Event()

    def take(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self.read.setdefault(batch.address, []).extend((entry.offset, entry.value) for entry in batch.entries)
        self.heard.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not is_so():
                self.heard.clear()
                await self.heard.wait()

    async def logs(self, count: int) -> list[LogAddress]:
        made = [topics.own_topic(fresh_conversation()) for _ in range(count)]
        await self.admin.create(made)
        return [LogAddress(topic.name, 0) for topic in made]

    async def write(self, log: LogAddress, *values: bytes) -> None:
        for value in values:
            await self.appender.append_bytes(log.topic, value, key=b"k")

    async def all_read(self, logs: Sequence[LogAddress], expected: Sequence[bytes]) -> None:
        """Write the last of what is expected to each, and wait until all have been read whole."""
        await asyncio.gather(*(self.write(log, expected[-1]) for log in logs))
        await self.until(lambda: all(self.values(log) == expected for log in logs))

    def values(self, log: LogAddress) -> list[bytes | None]:
        return [value for _, value in self.read.get(log, [])]


@asynccontextmanager
async def opened(
    bootstrap: str, prefix: str, tuning: TailTuning | None = None, *, copies: int = 1
) -> AsyncIterator[Bench]:
    settings = KafkaSettings(bootstrap=bootstrap, topic_prefix=prefix, replication_factor=copies)
    bench = Bench(settings, tuning or TailTuning())
    await asyncio.gather(bench.tail.start(), bench.appender.start())
    broken = asyncio.ensure_future(bench.tail.broken())
    try:
        yield bench
        assert not broken.done(), broken.exception()
    finally:
        broken.cancel()
        await bench.tail.stop()
        await bench.admin.delete(await bench.admin.names())
        await asyncio.gather(bench.admin.stop(), bench.appender.stop(), bench.reader.stop())


@pytest.fixture
async def bench(kafka: str, topic_prefix: str) -> AsyncIterator[Bench]:
    async with opened(kafka, topic_prefix) as made:
        yield made


async def test_reads_from_the_offset_on(bench: Bench) -> None:
    """A log is read from the given offset, in order, once, what is there and what comes."""
    [log] = await bench.logs(1)
    await bench.write(log, b"0", b"1", b"2")
    bench.tail.add(log, 1)
    await bench.until(lambda: len(bench.values(log)) == 2)
    await bench.write(log, b"3")
    await bench.until(lambda: len(bench.values(log)) == 3)
    assert bench.read[log] == [(1, b"1"), (2, b"2"), (3, b"3")]


async def test_a_removed_log_is_silent_and_a_readded_one_begins_where_told(bench: Bench) -> None:
    """After `remove` nothing of the log is handed on; added again it is read from its new offset, also an older one."""
    log, other = await bench.logs(2)
    bench.tail.add(log, 0)
    bench.tail.add(other, 0)
    await bench.write(log, b"0", b"1")
    await bench.until(lambda: len(bench.values(log)) == 2)
    bench.tail.remove(log)
    await bench.write(log, b"2")
    await bench.write(other, b"x")
    await bench.until(lambda: bench.values(other) == [b"x"])
    assert bench.values(log) == [b"0", b"1"]
    bench.read.clear()
    bench.tail.add(log, 0)
    await bench.until(lambda: len(bench.values(log)) == 3)
    assert bench.values(log) == [b"0", b"1", b"2"]
    for _ in range(20):
        bench.read.clear()
        bench.tail.add(log, 1)
        bench.tail.remove(log)
        bench.tail.add(log, 0)
        await bench.until(lambda: len(bench.values(log)) == 3)


async def test_a_log_that_is_not_there_yet(bench: Bench) -> None:
    """A log may be added before its topic exists; it is read from its beginning once it does; others don't notice."""
    [there] = await bench.logs(1)
    coming = topics.own_topic(fresh_conversation())
    log = LogAddress(coming.name, 0)
    bench.tail.add(log, 0)
    bench.tail.add(there, 0)
    await bench.write(there, b"x")
    await bench.until(lambda: bench.values(there) == [b"x"])
    await bench.admin.create([coming])
    await bench.write(log, b"first")
    await bench.until(lambda: bench.values(log) == [b"first"])


async def test_a_deleted_log_hurts_nobody_and_a_new_one_of_its_name_is_told(bench: Bench) -> None:
    """When a topic goes, others go on; made anew it is shorter than the place: that is told, and it isn't read."""
    log, other = await bench.logs(2)
    await bench.write(log, b"0", b"1")
    bench.tail.add(log, 0)
    bench.tail.add(other, 0)
    await bench.until(lambda: len(bench.values(log)) == 2)
    await bench.admin.delete([log.topic])
    for number in range(5):
        await bench.write(other, b"%d" % number)
    await bench.until(lambda: len(bench.values(other)) == 5)
    await bench.admin.create([topics.topic_of(log.topic)])

    async def told() -> bool:
        return bench.lost == [log]

    await until(told, limit_s=LIMIT_S)


async def test_an_offset_that_is_not_in_the_log_is_told(bench: Bench) -> None:
    """Behind the end or before the beginning: the log is left, and its owner hears of it."""
    [log] = await bench.logs(1)
    bench.tail.add(log, 5)

    async def told() -> bool:
        return bench.lost == [log]

    await until(told, limit_s=LIMIT_S)


async def test_records_larger_than_a_fetch(kafka: str, topic_prefix: str) -> None:
    """A record above the limits of log and answer comes whole, and what stands behind it too, beside other logs."""
    tuning = TailTuning(answer_bytes=2048, log_bytes=1024)
    async with opened(kafka, topic_prefix, tuning) as bench:
        logs = await bench.logs(3)
        for log in logs:
            bench.tail.add(log, 0)
        large = [b"small", bytes(200_000), b"x" * 3000, b"last"]
        await asyncio.gather(*(bench.write(log, *large) for log in logs))
        await bench.until(lambda: all(bench.values(log) == large for log in logs))


async def test_silence_moves_a_log_and_its_next_record_still_comes(kafka: str, topic_prefix: str) -> None:
    """Logs that fall silent leave the poll of the speaking ones, and speak again without loss or repeat."""
    tuning = TailTuning(quiet_s=0.2, cold_polls=2)
    async with opened(kafka, topic_prefix, tuning) as bench:
        logs = await bench.logs(20)
        for log in logs:
            bench.tail.add(log, 0)

        async def all_are_cold() -> bool:
            brokers = list(bench.tail._brokers.values())
            cold = sum(len(poll.session) for broker in brokers for poll in broker.cold)
            return cold == 20 and not any(
                len(poll.session) for broker in brokers for poll in (broker.short, broker.hot)
            )

        for round_number in range(3):
            await until(all_are_cold, limit_s=LIMIT_S)
            await asyncio.gather(*(bench.write(log, b"%d" % round_number) for log in logs))
            await bench.until(lambda: all(len(bench.values(log)) == round_number + 1 for log in logs))  # noqa: B023
        expected = [b"0", b"1", b"2"]
        assert all(bench.values(log) == expected for log in logs)


async def test_what_is_added_or_woken_waits_for_no_long_poll(kafka: str, topic_prefix: str) -> None:
    """While the long polls wait, the short one reads what has come; it rests once the others have asked for that."""
    tuning = TailTuning(wait_ms=int(LIMIT_S * 1000), quiet_s=3600.0, cold_polls=1)
    async with opened(kafka, topic_prefix, tuning) as bench:
        quiet, speaking, added = await bench.logs(3)

        async def is_polled() -> bool:
            return bool(bench.tail._brokers)

        async def short_rests() -> bool:
            [broker] = bench.tail._brokers.values()
            return not len(broker.short.session)

        async with asyncio.timeout(LIMIT_S / 2):
            bench.tail.add(quiet, 0)
            await until(is_polled, limit_s=LIMIT_S)
            await until(short_rests, limit_s=LIMIT_S)
            bench.tail.add(speaking, 0)
            await bench.all_read([speaking], [b"0"])
            await until(short_rests, limit_s=LIMIT_S)

            bench.tail.add(added, 0)
            await bench.all_read([added], [b"0"])
            await bench.all_read([added], [b"0", b"1"])
            await bench.all_read([quiet], [b"0"])
            await bench.all_read([quiet], [b"0", b"1"])
            assert not await short_rests()
            await bench.all_read([speaking], [b"0", b"1"])
            await until(short_rests, limit_s=LIMIT_S)
            await bench.all_read([added, quiet], [b"0", b"1", b"2"])


async def test_an_evicted_session_is_opened_again(bench: Bench) -> None:
    """When the broker has let a session go, nothing is lost and nothing comes twice."""
    logs = await bench.logs(5)
    for log in logs:
        bench.tail.add(log, 0)
    for number in range(5):
        for poll in bench.tail._polls():
            poll.session.session_id = uuid.uuid4().int % 2**31
        await asyncio.gather(*(bench.write(log, b"%d" % number) for log in logs))
    await bench.until(lambda: all(len(bench.values(log)) == 5 for log in logs))
    assert all(bench.values(log) == [b"0", b"1", b"2", b"3", b"4"] for log in logs)


async def test_any_number_of_logs_changes_while_others_speak(bench: Bench) -> None:
    """Eighty logs written at random while logs come and go: each that stays is read whole and in order."""
    logs = await bench.logs(80)
    staying, passing = logs[:40], logs[40:]
    for log in staying:
        bench.tail.add(log, 0)

    async def churn() -> None:
        for log in passing:
            bench.tail.add(log, 0)
            await asyncio.sleep(0)
            bench.tail.remove(log)

    async def speak(log: LogAddress) -> None:
        await bench.write(log, *(b"%d" % number for number in range(10)))

    await asyncio.gather(churn(), *(speak(log) for log in staying))
    await bench.until(lambda: all(len(bench.values(log)) == 10 for log in staying))
    assert all(bench.values(log) == [b"%d" % number for number in range(10)] for log in staying)


async def test_a_broker_that_goes_and_comes(broker_loop: LoopThread, tmp_path: Path, topic_prefix: str) -> None:
    """A broker's restart, clean or killed, costs time and no record."""
    node = local_kafka(tmp_path)
    bootstrap = await asyncio.to_thread(broker_loop.run, node.start())
    try:
        async with opened(bootstrap, topic_prefix) as bench:
            logs = await bench.logs(3)
            for log in logs:
                bench.tail.add(log, 0)
            await asyncio.gather(*(bench.write(log, b"before") for log in logs))
            await bench.until(lambda: all(bench.values(log) == [b"before"] for log in logs))
            await asyncio.to_thread(broker_loop.run, node.stop())
            assert await asyncio.to_thread(broker_loop.run, node.start()) == bootstrap
            await asyncio.gather(*(bench.write(log, b"after") for log in logs))
            await bench.until(lambda: all(bench.values(log) == [b"before", b"after"] for log in logs))
            assert bench.tail.is_live
    finally:
        await asyncio.to_thread(broker_loop.run, node.stop(limit_s=0))


async def test_leaders_that_move(broker_loop: LoopThread, tmp_path: Path, topic_prefix: str) -> None:
    """Logs of two brokers are read from both; when one goes, killed or not, its logs are read at the other."""
    first = local_kafka(tmp_path / "first")
    bootstrap = await asyncio.to_thread(broker_loop.run, first.start())
    second = second_broker(first, tmp_path / "second")
    try:
        await asyncio.to_thread(broker_loop.run, second.start())
        async with opened(bootstrap, topic_prefix, copies=2) as bench:
            logs = await bench.logs(6)
            for log in logs:
                bench.tail.add(log, 0)
            expected = [b"by both"]
            await bench.all_read(logs, expected)
            assert len(bench.tail._brokers) == 2
            for kills in (False, True):
                await asyncio.to_thread(broker_loop.run, second.stop(limit_s=0 if kills else None))
                expected += [b"by one, killed" if kills else b"by one"]
                await bench.all_read(logs, expected)
                await asyncio.to_thread(broker_loop.run, second.start())
                expected += [b"by both again"]
                await bench.all_read(logs, expected)
    finally:
        await asyncio.to_thread(broker_loop.run, second.stop(limit_s=0))
        await asyncio.to_thread(broker_loop.run, first.stop(limit_s=0))
