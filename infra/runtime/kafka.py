"""The writing side of Kafka: records appended in order, acknowledged by all replicas, with CloudEvents headers.

Every service appends through `Appender`; nothing else in the tree makes a producer.
"""

import asyncio
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors
from aiokafka.structs import TopicPartition

from infra.runtime.kafka_client import LeanClient, RangeGone, RecordTooLarge, TopicUnknown, ours, translated
from infra.runtime.kafka_settings import KafkaSettings
from schemas import codec, topics
from schemas.errors import InvariantBroken, KafkaUnavailable
from schemas.records import Record

__all__ = ["Appender", "KafkaSettings", "Placed", "RangeGone", "RecordTooLarge", "TopicUnknown"]

# The largest request: Kafka's own default for a record, which the contract stays below.
_MAX_REQUEST_BYTES: Final = 1_048_576
# One batch a partition on its way at a time; what gathers meanwhile travels as the next.
_MAX_BATCH_BYTES: Final = 262_144
_BACKOFF_S: Final = 0.1
# A spoiled producer's other partitions may bring home what was enqueued: some ms, when their brokers are there.
_FAREWELL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an acknowledged record lies. `topic` is without the prefix."""

    topic: str
    partition: int
    offset: int


class Appender:
    """Appends records: idempotent, acks=all, no linger, no compression, raw UTF-8 keys.

    Args:
        settings: where Kafka is.
        role: the service that writes, for `ce_source` and the broker's logs.
    """

    def __init__(self, settings: KafkaSettings, role: str) -> None:
        self._settings = settings
        self._role = role
        self._producer: AIOKafkaProducer | None = None
        # A batch that failed leaves a gap in its partition's sequence numbers: the broker takes none that come behind.
        self._spoiled: AIOKafkaProducer | None = None
        self._retiring: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._turnstiles: weakref.WeakValueDictionary[tuple[str, int | None], asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )
        self._is_stopped = False

    async def start(self) -> None:
        """Connect. Raises KafkaUnavailable; it may be called again then."""
        self._is_stopped = False
        await self._live()

    async def stop(self) -> None:
        """Wait for what is on its way, then disconnect. Idempotent."""
        self._is_stopped = True
        if self._retiring is not None:
            await asyncio.wait({self._retiring})
        producer, self._producer = self._producer, None
        if producer is not None:
            await _retired(producer, within_s=self._settings.request_timeout_s)

    async def send(
        self,
        topic: str,
        record: Record,
        *,
        partition: int | None = None,
        key: str | None = None,
        trace: str | None = None,
    ) -> "asyncio.Future[Placed]":
        """Enqueue the record and return a future of its place.

        Records for one partition are appended in the order of the calls, whatever tasks they come from. A failed append
        says nothing about whether the record was written; those enqueued behind it on its partition may fail with it.

        Args:
            topic: without the prefix.
            record: its `at` and `id` are set by the caller.
            partition: None lets Kafka's hash of the key choose.
            key: None takes the topic's own key out of the record.
            trace: `traceparent` for the header of a record that carries none itself.

        Raises:
            TopicUnknown: there is no such topic, even after waiting for a fresh one.
            RecordTooLarge: never retried.
            KafkaUnavailable: the brokers took nothing in time.
        """
        raw_key = (key if key is not None else _key(topic, record)).encode()
        headers = codec.headers(record, self._role, trace)
        return await self._enqueue(topic, codec.encode(record), raw_key, partition, headers)

    async def append(
        self,
        topic: str,
        record: Record,
        *,
        partition: int | None = None,
        key: str | None = None,
        trace: str | None = None,
    ) -> Placed:
        """`send`, and its acknowledgement."""
        return await (await self.send(topic, record, partition=partition, key=key, trace=trace))

    async def tombstone(self, topic: str, key: str) -> Placed:
        """Append a null under the key: a compacted topic forgets it."""
        return await (await self._enqueue(topic, None, key.encode(), None, ()))

    async def append_bytes(
        self, topic: str, value: bytes, *, key: bytes, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> Placed:
        """Append what is no record of ours, such as a dead letter's bytes."""
        return await (await self._enqueue(topic, value, key, None, headers))

    async def send_bytes(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes,
        partition: int | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> "asyncio.Future[Placed]":
        """`send` for what is no record of ours, such as a table's changelog; a null value is a tombstone."""
        return await self._enqueue(topic, value, key, partition, headers)

    async def partitions(self, topic: str) -> tuple[int, ...]:
        """The topic's partitions. Raises TopicUnknown."""
        producer = await self._live()
        with translated(f"look up {topic}"):
            return tuple(sorted(await producer.client.partitions(self._settings.named(topic))))

    async def _enqueue(
        self,
        topic: str,
        value: bytes | None,
        key: bytes,
        partition: int | None,
        headers: tuple[tuple[str, bytes], ...],
    ) -> "asyncio.Future[Placed]":
        name = self._settings.named(topic)
        # A full batch makes a sender wait, and another task could slip in before it: the locks keep the order of calls.
        # Nothing is awaited between the topic's and the partition's, so that the order of the first is the second's.
        async with self._turnstile(topic, None):
            number = await self._partition_of(name, key, partition)
        async with self._turnstile(topic, number):
            producer = await self._live()
            with translated(f"append to {topic}"):
                acked = await producer.send(name, value, key=key, partition=number, headers=list(headers))
            if producer is self._spoiled:
                # It failed while this one waited for room: what comes behind the gap must not land either.
                _fail_unsent(producer, TopicPartition(name, number))
        placed: asyncio.Future[Placed] = asyncio.get_running_loop().create_future()

        def settle(done: "asyncio.Future[Any]") -> None:
            error = None if done.cancelled() else done.exception()
            if error is not None:
                self._spoil(producer, TopicPartition(name, number))
            if placed.done():
                return
            if done.cancelled():
                placed.cancel()
                return
            if error is None:
                metadata = done.result()
                placed.set_result(Placed(topic, metadata.partition, metadata.offset))
                return
            placed.set_exception(ours(error, f"append to {topic}"))
            # Who gave up waiting was told by its own cancellation.
            placed.exception()

        acked.add_done_callback(settle)
        return placed

    def _turnstile(self, topic: str, partition: int | None) -> asyncio.Lock:
        return self._turnstiles.setdefault((topic, partition), asyncio.Lock())

    async def _partition_of(self, name: str, key: bytes, partition: int | None) -> int:
        """The partition that is named, or Kafka's own for the key, once the topic is known."""
        producer = await self._live()
        with translated(f"append to {name.removeprefix(self._settings.topic_prefix)}"):
            await producer.client.partitions(name)
        return int(producer._partition(name, partition, key, None, key, None))  # noqa: SLF001 - its hash of the key

    def _spoil(self, producer: AIOKafkaProducer, partition: TopicPartition) -> None:
        """An append failed: nothing that was enqueued behind it may land, and no more goes out by this producer."""
        if producer is self._producer:
            self._spoiled = producer
        _fail_unsent(producer, partition)

    async def _live(self) -> AIOKafkaProducer:
        """The producer; a new one when the last was spoiled by an outcome that its sequence numbers can't survive."""
        if self._producer is not None and not self._is_lost(self._producer):
            return self._producer
        async with self._starting:
            if self._is_stopped:
                raise KafkaUnavailable(f"the {self._role}'s appender has stopped")
            if self._producer is not None and self._is_lost(self._producer):
                # A task of its own: who waits may give up in the middle, and nobody else would finish it.
                self._retiring = self._retiring or asyncio.create_task(_retired(self._producer, within_s=_FAREWELL_S))
                await asyncio.shield(self._retiring)
                self._producer, self._spoiled, self._retiring = None, None, None
            if self._producer is None:
                self._producer = await self._connected()
            return self._producer

    def _is_lost(self, producer: AIOKafkaProducer) -> bool:
        return producer is self._spoiled or _is_dead(producer)

    async def _connected(self) -> AIOKafkaProducer:
        """A started producer; tried again while no broker answers, for as long as a request may take."""
        deadline = time.monotonic() + self._settings.request_timeout_s
        while True:
            try:
                return await self._started(deadline - time.monotonic())
            except KafkaUnavailable:
                if time.monotonic() + _BACKOFF_S > deadline:
                    raise
                await asyncio.sleep(_BACKOFF_S)

    async def _started(self, within_s: float) -> AIOKafkaProducer:
        options = self._settings.client_options(f"parley-{self._role}")
        producer = AIOKafkaProducer(
            **options,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            compression_type=None,
            max_batch_size=_MAX_BATCH_BYTES,
            max_request_size=_MAX_REQUEST_BYTES,
        )
        _lean(producer, options)
        try:
            with translated(f"reach Kafka at {self._settings.bootstrap}"):
                await asyncio.wait_for(producer.start(), within_s)
        except BaseException:
            await _stopped(producer)
            raise
        return producer


def _lean(producer: AIOKafkaProducer, options: dict[str, Any]) -> None:
    """Give the producer a client that doesn't ask for every topic it ever met. The three places aiokafka keeps one."""
    accumulator = producer._message_accumulator  # noqa: SLF001 - aiokafka makes its client itself

    def unsent() -> set[str]:
        waiting = {batch.topic for batch in accumulator._batches}  # noqa: SLF001
        return waiting | {batch.tp.topic for batch in accumulator._pending_batches}  # noqa: SLF001

    client = LeanClient(in_use=unsent, **options)
    client.cluster = producer._metadata  # noqa: SLF001
    producer.client = client
    producer._sender.client = client  # noqa: SLF001


def _is_dead(producer: AIOKafkaProducer) -> bool:
    task = producer._sender.sender_task  # noqa: SLF001 - nothing public tells
    return task is None or task.done() or producer._closed  # noqa: SLF001


def _fail_unsent(producer: AIOKafkaProducer, partition: TopicPartition | None = None) -> None:
    """Fail what is enqueued for the partition, or for all of them, and not on its way."""
    accumulator = producer._message_accumulator  # noqa: SLF001 - aiokafka itself gives up none of an idempotent producer
    waiting = accumulator._batches  # noqa: SLF001
    for number in [partition] if partition is not None else list(waiting):
        for batch in waiting.pop(number, ()):
            if batch.retry_count:
                # It was on its way once; aiokafka takes it off this list when it is decided, there or not.
                accumulator._pending_batches.add(batch)  # noqa: SLF001
            batch.failure(kafka_errors.KafkaError("an append before it on its partition failed"))
            batch._drain_waiter.exception()  # noqa: SLF001 - nobody may wait for it


async def _retired(producer: AIOKafkaProducer, *, within_s: float) -> None:
    """Stop it when what is on its way has come home; what hasn't by then fails, its outcome unknown.

    A successor may append only behind this, or the two would overtake one another.
    """
    if not _is_dead(producer):
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await producer._message_accumulator.close()  # noqa: SLF001 - `stop` might wait for a broker for ever
    _fail_unsent(producer)
    # Ends when each request under way is answered or timed out; what wants to be sent again then isn't.
    with suppress(kafka_errors.KafkaError, OSError):
        await producer._sender.close()  # noqa: SLF001
    _fail_unsent(producer)
    await _stopped(producer)


async def _stopped(producer: AIOKafkaProducer) -> None:
    try:
        await producer.stop()
    except (kafka_errors.KafkaError, OSError):
        # It was given up because it can't finish; its sends have been failed already.
        await producer.client.close()


def _key(topic: str, record: Record) -> str:
    try:
        return topics.key_of(topics.topic_of(topic), record)
    except (KeyError, AttributeError) as error:
        raise InvariantBroken(f"{record.type} for {topic} has no key of its own: the caller must give one") from error
