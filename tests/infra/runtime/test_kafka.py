"""Appending to a real Kafka: order, prefix, headers, keys, and what a failure says."""

import asyncio
from dataclasses import replace

import pytest
from aiokafka import errors as kafka_errors

from infra.runtime.kafka import Appender, KafkaSettings, RecordTooLarge, TopicUnknown
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_topics import TopicAdmin
from schemas import codec, ids, topics
from schemas.errors import InvariantBroken, KafkaUnavailable
from tests.infra.runtime.conftest import stop_requested
from tests.support.samples import CONVERSATION

TOPIC = topics.REQUESTS


async def test_order_of_calls_is_order_in_the_log(appender: Appender, reader: LogReader) -> None:
    """Records lie in the order in which they were sent, and each future tells its place."""
    sent = [await appender.send(TOPIC, stop_requested(number)) for number in range(500)]
    placed = await asyncio.gather(*sent)
    partition = placed[0].partition
    assert {each.topic for each in placed} == {TOPIC}
    assert [each.offset for each in placed] == list(range(500))
    entries = await reader.read_all(TOPIC, partition, 0)
    assert [codec.decode(entry.value or b"").id for entry in entries] == [str(number) for number in range(500)]


async def test_order_holds_between_tasks_whose_batches_are_full(appender: Appender, reader: LogReader) -> None:
    """A task that has to wait for room keeps its place before one that calls later."""
    big = replace(stop_requested(), tenant="x" * 100_000)

    async def send(number: int) -> None:
        await (await appender.send(TOPIC, replace(big, id=str(number)), partition=0))

    await asyncio.gather(*(send(number) for number in range(40)))
    entries = await reader.read_all(TOPIC, 0, 0)
    assert [codec.decode(entry.value or b"").id for entry in entries] == [str(number) for number in range(40)]


async def test_headers_and_key(appender: Appender, kafka_settings: KafkaSettings) -> None:
    """A record carries CloudEvents headers, its role as source, and the table's key as raw UTF-8."""
    from aiokafka import AIOKafkaConsumer  # noqa: PLC0415 - a foreign reader, to see what any other would

    await appender.append(TOPIC, stop_requested(7), trace="00-trace-parent-01")
    consumer = AIOKafkaConsumer(
        kafka_settings.named(TOPIC), bootstrap_servers=kafka_settings.bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    record = await asyncio.wait_for(consumer.getone(), 20)
    await consumer.stop()
    headers = dict(record.headers)
    assert record.key == CONVERSATION.encode()
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_id"] == b"7"
    assert headers["ce_source"] == b"/parley/gateway"
    assert headers["ce_type"] == b"parley.TurnStopRequested"
    assert headers["content-type"] == b"application/json"
    assert headers["traceparent"] == b"00-trace-parent-01"


async def test_the_prefix_is_put_on_once(appender: Appender, kafka_settings: KafkaSettings, topic_prefix: str) -> None:
    """Callers name topics as the contract does; at the broker they bear the prefix."""
    placed = await appender.append(TOPIC, stop_requested())
    assert placed.topic == TOPIC
    bare = LogReader(replace(kafka_settings, topic_prefix=""), "test")
    assert await bare.bounds(topic_prefix + TOPIC, placed.partition) == (0, 1)
    await bare.stop()


async def test_a_key_chooses_the_partition(appender: Appender) -> None:
    """The same key goes to the same partition, by Kafka's own hash, so that every client agrees."""
    places = [await appender.append(TOPIC, stop_requested(), key="21") for _ in range(3)]
    assert len({each.partition for each in places}) == 1
    # murmur2("21") = 0x9A54B1CC by Kafka's own test vectors: -973932308 as a signed int; & 0x7fffffff, % 4 = 0.
    assert places[0].partition == (-973932308 & 0x7FFFFFFF) % 4


async def test_a_tombstone_is_a_null(appender: Appender, reader: LogReader) -> None:
    """A key is forgotten by a record without value."""
    placed = await appender.tombstone(topics.CONVERSATIONS, "conv_x")
    [entry] = await reader.read_all(topics.CONVERSATIONS, placed.partition, placed.offset)
    assert (entry.key, entry.value) == (b"conv_x", None)


async def test_bytes_go_as_they_are(appender: Appender, reader: LogReader) -> None:
    """A dead letter's bytes are kept to the last one."""
    placed = await appender.append_bytes(topics.DEAD_LETTERS, b"\xff\x00", key=b"k", headers=(("why", b"broken"),))
    [entry] = await reader.read_all(topics.DEAD_LETTERS, placed.partition, placed.offset)
    assert entry.value == b"\xff\x00"


async def test_a_topic_made_a_moment_ago_is_waited_for(appender: Appender, admin: TopicAdmin) -> None:
    """An append that comes before the topic goes through once it is there."""
    own = topics.own_topic(ids.conversation_id("0" * 32))
    waiting = asyncio.create_task(appender.append(own.name, stop_requested()))
    await admin.create([own])
    assert (await waiting).offset == 0


async def test_an_unknown_topic_is_named(appender: Appender) -> None:
    """A topic that nobody makes is told by its name, after a bounded wait."""
    async with asyncio.timeout(15):
        with pytest.raises(TopicUnknown, match=r"conversation\.f"):
            await appender.append(topics.own_topic(ids.conversation_id("f" * 32)).name, stop_requested())


async def test_a_record_without_key_is_a_bug(appender: Appender) -> None:
    """A record whose topic takes its key from a field it lacks is ours to mend."""
    with pytest.raises(InvariantBroken):
        await appender.append(topics.KEYS, stop_requested())


async def test_too_large_is_no_outage(appender: Appender) -> None:
    """A record that the broker can't take is told apart from a broker that is away, and the next one goes through."""
    with pytest.raises(RecordTooLarge):
        await appender.append(TOPIC, replace(stop_requested(), tenant="x" * 1_200_000), partition=0)
    assert (await appender.append(TOPIC, stop_requested(), partition=0)).offset == 0


async def test_a_dead_producer_is_replaced(appender: Appender, reader: LogReader) -> None:
    """After an outcome that a producer's sequence numbers can't survive, the next append goes out by a new one."""
    await appender.append(TOPIC, stop_requested(1), partition=0)
    producer = appender._producer
    assert producer is not None
    # As the broker's answer to a gap would: the sender ends.
    producer._sender.sender_task.cancel()
    await asyncio.wait({producer._sender.sender_task})
    assert (await appender.append(TOPIC, stop_requested(2), partition=0)).offset == 1
    assert appender._producer is not producer


class _Narrow(topics.Topic):
    """A topic whose broker takes 100 000 bytes at once: what is larger fails for good, behind its sequence number."""

    @property
    def config(self) -> dict[str, str]:
        return {"max.message.bytes": "100000"}


@pytest.fixture
async def narrow(admin: TopicAdmin) -> str:
    """The name of a narrow topic."""
    wide = topics.TOPICS[topics.CONTROL]
    await admin.create([_Narrow(name=wide.name, key=wide.key, count=wide.count, retention_ms=None)])
    return wide.name


async def test_a_failed_append_stops_no_later_one(appender: Appender, narrow: str) -> None:
    """The gap that a failed append leaves in a partition's sequence numbers is no later one's fault."""
    await appender.append(narrow, stop_requested(), partition=0)
    other = await appender.send(narrow, stop_requested(), partition=1)
    with pytest.raises(RecordTooLarge):
        await appender.append(narrow, replace(stop_requested(), tenant="x" * 150_000), partition=0)
    assert (await appender.append(narrow, stop_requested(), partition=0)).offset == 1
    assert (await appender.append(narrow, stop_requested(), partition=0)).offset == 2
    assert (await other).offset == 0


async def test_what_was_enqueued_behind_a_failed_append_fails_too(
    appender: Appender, narrow: str, reader: LogReader
) -> None:
    """Nothing lands behind a gap, or who tries the failed one again would turn the order round."""
    await appender.append(narrow, stop_requested(0), partition=0)
    too_large = replace(stop_requested(1), tenant="x" * 250_000)
    behind = [replace(stop_requested(number), tenant="x" * 40_000) for number in range(2, 6)]
    sent = await asyncio.gather(
        *(appender.append(narrow, each, partition=0) for each in (too_large, *behind)), return_exceptions=True
    )
    assert isinstance(sent[0], RecordTooLarge)
    # Those that still waited for room may go out by the next producer, in their order.
    landed = [number for number, each in enumerate(sent) if not isinstance(each, BaseException)]
    assert all(isinstance(each, KafkaUnavailable) for number, each in enumerate(sent[1:], 1) if number not in landed)
    assert landed == list(range(len(sent) - len(landed), len(sent)))
    assert 1 not in landed
    entries = await reader.read_all(narrow, 0, 0)
    assert [codec.decode(each.value or b"").id for each in entries] == ["0", *(str(number + 1) for number in landed)]


async def test_a_full_partition_keeps_no_other_waiting(appender: Appender, reader: LogReader) -> None:
    """Order is kept within a partition; who waits for room there stands before nobody else."""
    big = replace(stop_requested(), tenant="x" * 200_000)
    crowd = [asyncio.create_task(appender.append(TOPIC, big, partition=0)) for _ in range(40)]
    await asyncio.sleep(0)
    await appender.append(TOPIC, stop_requested(), partition=1)
    assert not all(each.done() for each in crowd)
    await asyncio.gather(*crowd)
    assert await reader.bounds(TOPIC, 0) == (0, 40)


async def test_no_broker_is_one_error_of_ours() -> None:
    """A broker that isn't there is KafkaUnavailable with its address, and no foreign error passes."""
    appender = Appender(KafkaSettings(bootstrap="127.0.0.1:1", request_timeout_s=0.5), "gateway")
    with pytest.raises(KafkaUnavailable, match=r"127\.0\.0\.1:1") as error:
        await appender.start()
    assert not isinstance(error.value, kafka_errors.KafkaError)
    await appender.stop()


async def test_what_has_stopped_stays_stopped(kafka_settings: KafkaSettings) -> None:
    """An append after the stop fails at once instead of connecting again behind the service's back."""
    appender = Appender(kafka_settings, "gateway")
    await appender.start()
    await appender.stop()
    with pytest.raises(KafkaUnavailable, match="has stopped"):
        await appender.append(TOPIC, stop_requested())
    await appender.stop()


async def test_stop_waits_for_what_is_on_its_way(kafka_settings: KafkaSettings, reader: LogReader) -> None:
    """Nothing that was enqueued before the stop is lost by it."""
    appender = Appender(kafka_settings, "gateway")
    await appender.start()
    sent = [await appender.send(TOPIC, stop_requested(number), partition=1) for number in range(200)]
    await appender.stop()
    assert [(await each).offset for each in sent] == list(range(200))
    assert await reader.bounds(TOPIC, 1) == (0, 200)


async def test_partitions_are_told(appender: Appender) -> None:
    """A caller that chooses partitions itself learns how many there are."""
    assert await appender.partitions(TOPIC) == (0, 1, 2, 3)
