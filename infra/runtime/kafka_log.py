"""The reading side of Kafka without a consumer: `[start, stop)` of one partition by raw Fetch requests.

A claim reads its log back on the way to the first token, so a read costs one round trip and no long poll ever stands
before it: this reader has connections of its own. No group, no positions kept, any number of topics.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

from aiokafka import errors as kafka_errors
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record.memory_records import MemoryRecords

from infra.runtime.gathering import Gathered
from infra.runtime.kafka_client import FRESH_TOPIC_S, LeanClient, RangeGone, TopicUnknown, ours, translated
from infra.runtime.kafka_settings import KafkaSettings
from schemas.errors import KafkaUnavailable

__all__ = ["Entry", "LogReader", "RangeGone", "TopicUnknown"]

_BEGINNING: Final = -2
_END: Final = -1
# Four connections a broker: a large read of one caller doesn't stand before the small one of another.
_CONNECTIONS: Final = 4
# A read begins with a small fetch, as most are of a few records, and doubles up to 1 MiB. A record that is larger than
# the fetch comes whole, alone (KIP-74).
_FIRST_FETCH_BYTES: Final = 32_768
_FETCH_BYTES: Final = 1_048_576
# Only met when what was promised isn't there yet, such as behind a leader that has just changed.
_FETCH_WAIT_MS: Final = 100
# Partitions in one question for their ends: some 30 KB.
_PLACES: Final = 512
# Where the rows of Fetch version 11 and ListOffsets version 1 hold them.
_CODE: Final = 1
_END_OF_LOG: Final = 2
_OFFSET: Final = 3
_BACKOFF_S: Final = 0.05
_RETRIED: Final = (
    kafka_errors.NotLeaderForPartitionError,
    kafka_errors.LeaderNotAvailableError,
    kafka_errors.ReplicaNotAvailableError,
    kafka_errors.KafkaStorageError,
    kafka_errors.UnknownTopicOrPartitionError,
    kafka_errors.StaleLeaderEpochCodeError,
    kafka_errors.NodeNotReadyError,
    kafka_errors.KafkaConnectionError,
    kafka_errors.RequestTimedOutError,
    kafka_errors.StaleMetadata,
    kafka_errors.NoBrokersAvailable,
    kafka_errors.CorrelationIdError,
    KafkaUnavailable,
    TimeoutError,
    OSError,
)


class Entry(NamedTuple):
    """One record of a partition. `at_ms` is the writer's clock; `value` None is a tombstone."""

    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class Fetched(NamedTuple):
    """What one fetch brought of one partition: its records, where to go on, and the end as it was then."""

    entries: list[Entry]
    next_offset: int
    end: int


class LogReader:
    """Reads ranges of any partition. Safe to share between tasks; connects at first use.

    Args:
        settings: where Kafka is.
        role: for the brokers' logs.
        patience_s: how long an unreachable broker or a moved leader is retried before KafkaUnavailable.
    """

    def __init__(self, settings: KafkaSettings, role: str, *, patience_s: float = 15.0) -> None:
        self._settings = settings
        self._client_id = f"parley-{role}-log"
        self._patience_s = patience_s
        self._client: LeanClient | None = None
        self._connecting = asyncio.Lock()
        # By broker and place: a thousand readers that come back at once ask for a thousand ends.
        self._places: dict[tuple[int, int], Gathered[tuple[str, int], tuple[Any, ...]]] = {}
        self._turns = itertools.cycle(range(_CONNECTIONS))
        self._is_stopped = False

    async def start(self) -> None:
        """Connect now instead of at first use. Raises KafkaUnavailable."""
        self._is_stopped = False
        await self._connected()

    async def stop(self) -> None:
        """Disconnect; reads under way and later ones fail, until `start`. Idempotent."""
        self._is_stopped = True
        client, self._client = self._client, None
        await asyncio.gather(*(each.stop() for each in self._places.values()))
        self._places.clear()
        if client is not None:
            await client.close()

    async def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> AsyncIterator[Entry]:
        """Yield the records from `start` up to, not including, `stop`, in order.

        Args:
            topic: without the prefix.
            partition: of the topic.
            start: first offset, at or behind the log's beginning and not above its end.
            stop: an offset that is known to be in the log or its end; None takes the end as it is at the call.

        Raises:
            RangeGone: `start` was deleted, or the log is shorter than asked.
            TopicUnknown: there is no such topic, or no longer.
            KafkaUnavailable: no answer within the patience.
        """
        position = start
        if stop is None:
            stop = await self._offset(topic, partition, _END)
            if start > stop:
                raise RangeGone(f"{topic}/{partition} ends at {stop}, before {start}")
        deadline = time.monotonic() + self._patience_s
        max_bytes = _FIRST_FETCH_BYTES
        while position < stop:
            fetched = await self.fetch(topic, partition, position, max_bytes=max_bytes)
            max_bytes = min(2 * max_bytes, _FETCH_BYTES)
            for entry in fetched.entries:
                if entry.offset >= stop:
                    return
                yield entry
            if fetched.next_offset > position:
                position = fetched.next_offset
                deadline = time.monotonic() + self._patience_s
            elif time.monotonic() > deadline:
                raise RangeGone(f"{topic}/{partition} ends at {fetched.end}, before {stop}")

    async def read_all(self, topic: str, partition: int, start: int, stop: int | None = None) -> list[Entry]:
        """`read` as a list, for short ranges."""
        return [entry async for entry in self.read(topic, partition, start, stop)]

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is kept, and the end: the offset that the next record will get."""
        beginning, end = await asyncio.gather(self.beginning(topic, partition), self.end(topic, partition))
        return beginning, end

    async def end(self, topic: str, partition: int) -> int:
        """The offset that the next record will get."""
        return await self._offset(topic, partition, _END)

    async def beginning(self, topic: str, partition: int) -> int:
        """The first offset that is kept."""
        return await self._offset(topic, partition, _BEGINNING)

    async def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        """The first offset whose record's time is `at_ms` or later; the end when there is none."""
        found = await self._offset(topic, partition, max(at_ms, 0))
        return found if found >= 0 else await self._offset(topic, partition, _END)

    async def partitions(self, topic: str) -> tuple[int, ...]:
        """The topic's partitions. Raises TopicUnknown."""
        client = await self._connected()
        with translated(f"look up {topic}"):
            return await client.partitions(self._settings.named(topic))

    async def fetch(self, topic: str, partition: int, position: int, *, max_bytes: int = _FETCH_BYTES) -> Fetched:
        """One fetch from `position`: what is there now, possibly nothing after a short wait. Raises as `read`."""
        name = self._settings.named(topic)
        request = FetchRequest(_FETCH_WAIT_MS, 1, max_bytes, 0, [(name, [(partition, position, max_bytes)])])

        async def fetched(client: LeanClient, node: int) -> Any:
            [(_, [row])] = (await client.send(node, request, group=next(self._turns))).topics
            return row

        return unpacked_row(await self._ask(topic, partition, fetched), position)

    async def _offset(self, topic: str, partition: int, at: int) -> int:
        name = self._settings.named(topic)

        async def offset(client: LeanClient, node: int) -> Any:
            if at not in (_BEGINNING, _END):
                return (await self._offsets(client, node, at, frozenset({(name, partition)})))[name, partition]
            gathered = self._places.get((node, at))
            if gathered is None:
                gathered = self._places[node, at] = Gathered(partial(self._offsets, client, node, at), most=_PLACES)
            return await gathered((name, partition))

        return int((await self._ask(topic, partition, offset))[_OFFSET])

    async def _offsets(
        self, client: LeanClient, node: int, at: int, wanted: frozenset[tuple[str, int]]
    ) -> dict[tuple[str, int], tuple[Any, ...]]:
        """The rows of ListOffsets at one broker."""
        by_topic = [
            (name, [(partition, at) for _, partition in group])
            for name, group in groupby(sorted(wanted), itemgetter(0))
        ]
        response = await client.send(node, OffsetRequest(-1, 0, by_topic), group=next(self._turns))
        return {(name, row[0]): row for name, rows in response.topics for row in rows}

    async def _ask(
        self, topic: str, partition: int, send: Callable[[LeanClient, int], Awaitable[tuple[Any, ...]]]
    ) -> tuple[Any, ...]:
        """The leader's row about one partition, leaders looked up again and retried while there is patience."""
        name = self._settings.named(topic)
        started = time.monotonic()
        anew = False
        while True:
            try:
                client = await self._connected()
                node = await client.leader(name, partition, anew=anew)
                if node is None:
                    raise kafka_errors.LeaderNotAvailableError(name)
                row = await send(client, node)
                code = row[_CODE]
                if code == 0:
                    return row
                raise kafka_errors.for_code(code)(f"{topic}/{partition}")
            except _RETRIED as error:
                anew = True
                unknown = isinstance(error, (TopicUnknown, kafka_errors.UnknownTopicOrPartitionError))
                patience_s = min(FRESH_TOPIC_S, self._patience_s) if unknown else self._patience_s
                if time.monotonic() - started > patience_s:
                    raise ours(error, f"read {topic}/{partition}") from error
                await asyncio.sleep(_BACKOFF_S)
            except kafka_errors.KafkaError as error:
                raise ours(error, f"read {topic}/{partition}") from error

    async def _connected(self) -> LeanClient:
        if self._client is not None:
            return self._client
        async with self._connecting:
            client = self._client
            if client is None:
                if self._is_stopped:
                    raise KafkaUnavailable(f"{self._client_id} has stopped")
                client = await connected(self._settings, self._client_id)
                await self._keep(client)
            return client

    async def _keep(self, client: LeanClient) -> None:
        if self._is_stopped:
            # Stopped while it connected: nobody else would ever close it.
            await client.close()
        else:
            self._client = client


async def connected(settings: KafkaSettings, client_id: str) -> LeanClient:
    """A client that has met a broker. Raises KafkaUnavailable when none answers: it isn't tried again here."""
    client = LeanClient(**settings.client_options(client_id))
    try:
        with translated(f"reach Kafka at {settings.bootstrap}"):
            await asyncio.wait_for(client.bootstrap(), settings.request_timeout_s)
    except BaseException:
        await client.close()
        raise
    return client


def unpacked_row(row: tuple[Any, ...], position: int) -> Fetched:
    """`unpacked` of one partition as aiokafka's FetchResponse holds it."""
    return unpacked(row[_END_OF_LOG], row[-1], position)


def unpacked(end: int, raw: bytes, position: int) -> Fetched:
    """The records of one partition of a fetch's answer, from `position` on.

    Args:
        end: of the log, as the answer says. raw: its record batches.

    Raises:
        KafkaUnavailable: a batch's checksum is wrong: read it again.
    """
    entries: list[Entry] = []
    batches = MemoryRecords(raw) if raw else None
    while batches is not None and batches.has_next():
        batch = batches.next_batch()
        if not batch.validate_crc():
            raise KafkaUnavailable(f"a batch behind offset {position} has a wrong checksum")
        if not batch.is_control_batch:
            for record in batch:
                if record.offset >= position:
                    entries.append(Entry(record.offset, record.timestamp, record.key, record.value, record.headers))
        # A batch may end in records that compaction took away: its own end is where to go on.
        position = max(position, batch.next_offset)
    return Fetched(entries, position, end)
