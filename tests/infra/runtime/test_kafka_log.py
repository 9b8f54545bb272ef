"""Range reads on a real Kafka: exact ends, batches of any size, places by time, logs that are gone."""

import asyncio
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.runtime.kafka import Appender, KafkaSettings
from infra.runtime.kafka_log import LogReader, RangeGone, TopicUnknown, unpacked
from infra.runtime.kafka_topics import TopicAdmin
from schemas import codec, ids, topics
from schemas.errors import KafkaUnavailable
from tests.infra.runtime.conftest import stop_requested

TOPIC = topics.REQUESTS


async def fill(appender: Appender, sizes: list[int]) -> None:
    """Append one record of about each size to partition 0, batched as the producer likes."""
    records = [replace(stop_requested(number), tenant="x" * size) for number, size in enumerate(sizes)]
    await asyncio.gather(*[await appender.send(TOPIC, record, partition=0) for record in records])


async def numbers(reader: LogReader, start: int, stop: int | None = None) -> list[int]:
    """The ids of the records of that range."""
    return [int(codec.decode(each.value or b"").id) async for each in reader.read(TOPIC, 0, start, stop)]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bounds=st.tuples(st.integers(0, 300), st.integers(0, 300)))
async def test_any_range_is_exact(bounds: tuple[int, int], appender: Appender, reader: LogReader) -> None:
    """`[start, stop)` brings exactly these records, wherever batches begin and end."""
    beginning, end = await reader.bounds(TOPIC, 0)
    if end == 0:
        await fill(appender, [(number * 37) % 3000 for number in range(300)])
    start, stop = sorted(bounds)
    assert beginning == 0
    assert await numbers(reader, start, stop) == list(range(start, stop))


async def test_a_record_larger_than_the_first_fetch_comes_whole(appender: Appender, reader: LogReader) -> None:
    """Records of 900 KB among small ones are read like any other."""
    await fill(appender, [10, 450_000, 10, 450_000, 450_000, 10])  # the tenant stands in a header as well
    assert await numbers(reader, 0) == list(range(6))
    assert await numbers(reader, 1, 2) == [1]


async def test_the_end_is_that_of_the_call(appender: Appender, reader: LogReader) -> None:
    """Without a stop a read ends where the log ended when it began, also while others append."""
    await fill(appender, [100_000] * 30)
    seen: list[int] = []
    async for entry in reader.read(TOPIC, 0, 0):
        seen.append(entry.offset)
        if entry.offset == 0:
            await fill(appender, [10])
    assert seen == list(range(30))


async def test_an_empty_range_asks_nobody(reader: LogReader) -> None:
    """The range from an offset to itself is empty without a request."""
    assert await reader.read_all(TOPIC, 0, 0, 0) == []
    assert reader._client is None


async def test_beyond_the_end_is_an_error(appender: Appender, reader: LogReader) -> None:
    """Offsets that a log doesn't have yet, or lost when it was made anew, are told, never skipped."""
    await fill(appender, [1, 1])
    with pytest.raises(RangeGone, match="ends at 2"):
        await reader.read_all(TOPIC, 0, 3)
    with pytest.raises(RangeGone):
        await reader.read_all(TOPIC, 0, 5, 9)


async def test_a_stop_that_never_comes_is_an_error(appender: Appender, reader: LogReader) -> None:
    """Who asks for more than there is gets what there is, then an error, after the patience."""
    await fill(appender, [1, 1])
    reading = reader.read(TOPIC, 0, 0, 3)
    assert [(await anext(reading)).offset, (await anext(reading)).offset] == [0, 1]
    with pytest.raises(RangeGone, match="ends at 2, before 3"):
        await anext(reading)


async def test_places_by_time(appender: Appender, reader: LogReader) -> None:
    """The offset for a time is that of the first record written then or later; for the future it is the end."""
    await fill(appender, [1] * 3)
    last = (await reader.read_all(TOPIC, 0, 2))[0].at_ms
    while time.time_ns() // 1_000_000 <= last:
        pass  # until the clock's next millisecond
    await fill(appender, [1] * 2)
    assert await reader.offset_at(TOPIC, 0, 0) == 0
    assert await reader.offset_at(TOPIC, 0, last + 1) == 3
    assert await reader.offset_at(TOPIC, 0, last + 3_600_000) == 5


async def test_reading_back_costs_a_round_trip(appender: Appender, reader: LogReader) -> None:
    """What was just acknowledged is read back at once: no poll waits, whatever else the reader does."""
    await reader.start()
    for _ in range(50):
        placed = await appender.append(TOPIC, stop_requested(), partition=2)
        async with asyncio.timeout(5):
            [entry] = await reader.read_all(TOPIC, 2, placed.offset, placed.offset + 1)
        assert entry.offset == placed.offset


async def test_a_deleted_topic_is_told(appender: Appender, reader: LogReader, admin: TopicAdmin) -> None:
    """A log that was deleted is TopicUnknown after a short wait, for one who knew it and one who never did."""
    own = topics.own_topic(ids.conversation_id("a" * 32))
    await admin.create([own])
    await appender.append(own.name, stop_requested())
    assert len(await reader.read_all(own.name, 0, 0)) == 1
    await admin.delete([own.name])
    async with asyncio.timeout(20):
        with pytest.raises(TopicUnknown):
            await reader.read_all(own.name, 0, 0)
        with pytest.raises(TopicUnknown):
            await reader.bounds(topics.own_topic(ids.conversation_id("b" * 32)).name, 0)


async def test_a_partition_that_is_not_there_is_told(reader: LogReader) -> None:
    """A partition beyond the topic's is no empty log."""
    with pytest.raises(TopicUnknown):
        await reader.bounds(TOPIC, 99)


async def test_readers_side_by_side(appender: Appender, reader: LogReader) -> None:
    """Many reads at once on one reader each get their own range."""
    await fill(appender, [5000] * 200)
    found = await asyncio.gather(*(numbers(reader, start, start + 3) for start in range(0, 190, 5)))
    assert found == [[start, start + 1, start + 2] for start in range(0, 190, 5)]


async def test_no_broker_is_one_error_of_ours() -> None:
    """Without a broker a read fails as KafkaUnavailable when its patience is over."""
    reader = LogReader(KafkaSettings(bootstrap="127.0.0.1:1", request_timeout_s=0.2), "test", patience_s=0.2)
    async with asyncio.timeout(10):
        with pytest.raises(KafkaUnavailable, match=r"127\.0\.0\.1:1"):
            await reader.bounds(TOPIC, 0)


async def test_a_torn_batch_is_not_believed(appender: Appender, reader: LogReader) -> None:
    """A batch whose bytes changed on the way is refused, not half read."""
    from aiokafka.record.default_records import DefaultRecordBatchBuilder  # noqa: PLC0415 - makes real bytes

    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 16)
    builder.append(0, 1, b"k", b"value", [])
    raw = bytes(builder.build())
    assert [entry.value for entry in unpacked(1, raw, 0).entries] == [b"value"]
    torn = raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:]
    with pytest.raises(KafkaUnavailable, match="checksum"):
        unpacked(1, torn, 0)
