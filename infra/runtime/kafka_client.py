"""aiokafka's client, made to live with thousands of topics, and its errors as ours.

aiokafka asks for every topic it ever met at each refresh and never forgets one; this client asks for the one it needs,
refreshes what is in use, and never makes the broker create a topic.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import PartitionMetadata, TopicPartition

from infra.runtime.gathering import Gathered
from schemas.errors import DependencyError, KafkaUnavailable

# 512 topics in one refresh are ~60 KB and a few ms; what is used less is looked up again.
REMEMBERED_TOPICS: Final = 512
# CreateTopics answers before the log exists and before every broker knows of it: tens of ms, seconds under load.
FRESH_TOPIC_S: Final = 5.0
_BACKOFF_S: Final = 0.05


class TopicUnknown(KafkaUnavailable):
    """The broker knows no such topic, or no longer: created elsewhere a moment ago, never, or deleted."""


class RangeGone(KafkaUnavailable):
    """The asked offsets are not in the log: deleted by retention, or beyond the end of a log made anew."""


class RecordTooLarge(DependencyError):
    """The broker refuses a record of this size; sending it again changes nothing."""


class LeanClient(AIOKafkaClient):  # type: ignore[misc]
    """One connection per broker and purpose, metadata by need.

    Args:
        in_use: names that a refresh must cover whatever was used last, such as those with unsent records.
        options: `KafkaSettings.client_options`.
    """

    def __init__(self, *, in_use: Callable[[], Iterable[str]] = tuple, **options: Any) -> None:
        super().__init__(**options)
        self._in_use = in_use
        self._recent: OrderedDict[str, None] = OrderedDict()
        # 512 topics are as much as one refresh asks for.
        self._looking_up = Gathered(self._ask_for, most=REMEMBERED_TOPICS)
        self._is_closed = False

    async def close(self) -> None:
        """Close every connection, and open none any more. Idempotent."""
        self._is_closed = True
        await self._looking_up.stop()
        await super().close()

    async def _get_conn(self, node_id: Any, **options: Any) -> Any:
        connection = await super()._get_conn(node_id, **options)
        if connection is not None and self._is_closed:
            # Closed before or while it connected: nobody else would ever close it.
            await connection.close()
            return None
        return connection

    def add_topic(self, topic: str) -> "asyncio.Future[bool]":
        """Nothing to do: topics are looked up when they are used."""
        self._touch(topic)
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done

    async def leader(self, topic: str, partition: int, *, anew: bool = False) -> int | None:
        """The node that leads the partition now; None while it has none.

        Raises:
            TopicUnknown: the broker says that there is no such topic or partition.
            KafkaError: no broker answers.
        """
        if anew or self.cluster.partitions_for_topic(topic) is None:
            await self.look_up(topic)
        self._touch(topic)
        node = self.cluster.leader_for_partition(TopicPartition(topic, partition))
        if node is None:
            raise TopicUnknown(f"Kafka knows no partition {partition} of {topic}")
        return None if node == -1 else int(node)

    async def partitions(self, topic: str, *, patience_s: float = FRESH_TOPIC_S) -> tuple[int, ...]:
        """The topic's partitions; waits up to `patience_s` for one created a moment ago. Raises TopicUnknown."""
        return tuple(sorted(await self._wait_on_metadata(topic, patience_s)))

    async def look_up(self, topic: str) -> None:
        """Ask a broker for this one topic; callers at the same time share the question, about other topics too."""
        await self._looking_up(topic)

    async def _ask_for(self, topics: frozenset[str]) -> dict[str, None]:
        found = _partitions_in(await self.metadata_of(sorted(topics)))
        for topic in topics:
            if topic in found:
                self.cluster._partitions[topic] = found[topic]  # noqa: SLF001 - aiokafka only replaces the whole map
            else:
                self.cluster._partitions.pop(topic, None)  # noqa: SLF001
                self._recent.pop(topic, None)
        return dict.fromkeys(topics)

    async def metadata_of(self, topics: list[str] | None) -> Any:
        """Any broker's answer about these topics, None meaning all; no broker creates a topic because of the question.

        Raises:
            KafkaError: no broker answers.
        """
        failure: Exception | None = None
        for node in [broker.nodeId for broker in self.cluster.brokers()]:
            try:
                return await self.send(node, MetadataRequest(topics, False))
            except kafka_errors.KafkaError as error:
                failure = error
        raise failure or kafka_errors.NoBrokersAvailable()

    async def _wait_on_metadata(self, topic: str, patience_s: float = FRESH_TOPIC_S) -> set[int]:
        deadline = time.monotonic() + patience_s
        while True:
            known: set[int] | None = self.cluster.partitions_for_topic(topic)
            if known:
                self._touch(topic)
                return known
            try:
                await self.look_up(topic)
            except kafka_errors.KafkaError as error:
                if time.monotonic() > deadline or not error.retriable:
                    raise
            if self.cluster.partitions_for_topic(topic):
                continue
            if time.monotonic() > deadline:
                raise TopicUnknown(f"Kafka knows no topic {topic}: create it with `parley topics apply`")
            await asyncio.sleep(_BACKOFF_S)

    async def _metadata_update(self, cluster_metadata: Any, topics: Any) -> bool:
        if cluster_metadata is not self.cluster:
            return bool(await super()._metadata_update(cluster_metadata, topics))
        wanted = {*self._recent, *self._in_use()}
        try:
            response = await self.metadata_of(sorted(wanted))
        except kafka_errors.KafkaError:
            response = None
        if response is None or not response.brokers:
            # aiokafka's producer asks again the moment this returns: without a pause it would turn for nothing.
            await asyncio.sleep(_BACKOFF_S)
            return False
        cluster_metadata.update_metadata(response)
        if any(row[2] < 0 for topic in response.topics for row in topic[3]):
            await asyncio.sleep(_BACKOFF_S)
        for gone in wanted - cluster_metadata._partitions.keys():  # noqa: SLF001
            self._recent.pop(gone, None)
        return True

    def _touch(self, topic: str) -> None:
        self._recent[topic] = None
        self._recent.move_to_end(topic)
        if len(self._recent) > REMEMBERED_TOPICS:
            forgotten, _ = self._recent.popitem(last=False)
            if forgotten not in self._in_use():
                self.cluster._partitions.pop(forgotten, None)  # noqa: SLF001


def _partitions_in(response: Any) -> dict[str, dict[int, PartitionMetadata]]:
    found: dict[str, dict[int, PartitionMetadata]] = {}
    for code, topic, _internal, partitions in response.topics:
        if code == 0 and partitions:
            found[topic] = {
                number: PartitionMetadata(topic, number, leader, replicas, isr, fault)
                for fault, number, leader, replicas, isr, *_ in partitions
            }
    return found


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Foreign errors inside become ours; `doing` says what failed, as in "append to chat.requests"."""
    try:
        yield
    except DependencyError:
        raise
    except (kafka_errors.KafkaError, TimeoutError, OSError) as error:
        raise ours(error, doing) from error


def ours(error: BaseException, doing: str) -> DependencyError:
    """The foreign error as one of ours."""
    if isinstance(error, DependencyError):
        return error
    if isinstance(error, kafka_errors.UnknownTopicOrPartitionError):
        return TopicUnknown(f"{doing}: Kafka knows no such topic")
    if isinstance(error, kafka_errors.OffsetOutOfRangeError):
        return RangeGone(f"{doing}: the offsets are not in the log")
    if isinstance(error, (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)):
        return RecordTooLarge(f"{doing}: the record is larger than the broker takes")
    return KafkaUnavailable(f"{doing}: {str(error) or type(error).__name__}")
