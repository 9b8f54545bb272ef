"""The spares on Kafka: `conversations.spares`, read by all gateways as one consumer group.

Taking is committing: a spare belongs to whoever committed behind it under the generation in which it had the partition.
aiokafka commits under whatever generation it has at the moment of sending; here a commit names its own, so that the
broker refuses a late one and no spare is handed out twice.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.protocol.commit import OffsetCommitRequest

from infra.runtime.clock import Clock
from infra.runtime.kafka import Appender
from infra.runtime.kafka_client import translated
from infra.runtime.kafka_settings import KafkaSettings
from schemas import codec, instants, topics
from schemas.errors import ContractError, KafkaUnavailable
from schemas.ids import ConversationId
from schemas.records import SpareMade

GROUP: Final = "parley-spares"
# The partition whose owner makes spares for all.
MAKERS_PARTITION: Final = 0
# 6 s: the shortest session that brokers accept by default; a killed maker is followed by the next one behind it.
_SESSION_MS: Final = 6_000
_HEARTBEAT_MS: Final = 1_500
# A gateway with its hand full doesn't poll: only heartbeats tell who is alive.
_MAX_POLL_INTERVAL_MS: Final = 24 * 3600 * 1000
# New spares are there as soon as they are made; this is how long a poll for none stands at the broker.
_FETCH_WAIT_MS: Final = 200
_POLL_MS: Final = 500
# A rebalance makes a poll wait for its end; then it is looked whether the member still lives.
_STUCK_S: Final = 5.0
# An append, a count or a farewell that a broker doesn't answer: what it was for is lost, and a stop goes on.
_ACK_S: Final = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Holding:
    """What the group gave us, and as whom."""

    generation: int
    member: str
    partitions: frozenset[int]


class KafkaSpares:
    """See `SharedSpares`. Joins the group at the first `take`, and anew when it was thrown out for good.

    Args:
        appender: writes spares; started and stopped by its owner.
    """

    def __init__(self, settings: KafkaSettings, appender: Appender, clock: Clock) -> None:
        self._settings = settings
        self._appender = appender
        self._clock = clock
        self._topic = settings.named(topics.SPARES)
        self._group = settings.named(GROUP)
        self._consumer: AIOKafkaConsumer | None = None
        self._holding: _Holding | None = None

    @property
    def is_makers(self) -> bool:
        """Whether the makers' partition is ours, as far as this member knows."""
        return self._holding is not None and MAKERS_PARTITION in self._holding.partitions

    async def take(self, most: int) -> Sequence[ConversationId]:
        """Poll, commit, and return what the commit made ours."""
        consumer = await self._joined()
        with translated(f"take from {topics.SPARES}"):
            async with asyncio.timeout(_STUCK_S):
                batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=most)
        # Nothing was awaited since the records came: they are of this very holding, or of one that is no longer.
        holding = self._holding
        if not batches or holding is None or not {place.partition for place in batches} <= holding.partitions:
            return ()
        behind = {place.partition: records[-1].offset + 1 for place, records in batches.items()}
        # Whether it failed or was refused, they aren't read again: another gateway has them, or nobody.
        if not await self._commit(consumer, holding, behind):
            return ()
        return [spare for records in batches.values() for record in records if (spare := _spare(record)) is not None]

    async def untaken(self) -> Mapping[int, int]:
        """The records behind what the group has committed, by partition. Raises KafkaUnavailable."""
        consumer = self._consumer
        if consumer is None:
            raise KafkaUnavailable(f"{GROUP}: not joined")
        with translated(f"count {topics.SPARES}"):
            places = [TopicPartition(self._topic, each) for each in consumer.partitions_for_topic(self._topic) or ()]
            async with asyncio.timeout(_ACK_S):
                # One after the other: aiokafka asks for ever, and what was left behind by a `gather` would go on.
                beginnings = await consumer.beginning_offsets(places)
                committed = await consumer._coordinator.fetch_committed_offsets(places)  # noqa: SLF001 - and others'
                ends = await consumer.end_offsets(places)
        taken = {place: max(beginnings[place], kept.offset) for place, kept in committed.items()}
        return {place.partition: max(0, ends[place] - taken.get(place, beginnings[place])) for place in places}

    async def offer(self, spares: Mapping[ConversationId, int | None]) -> None:
        """Append them, all at once."""
        if not spares:
            return
        at = instants.from_ms(self._clock.wall_ms())
        try:
            async with asyncio.timeout(_ACK_S):
                placed = [
                    await self._appender.send(
                        topics.SPARES, SpareMade(id=f"{spare}.spare", at=at, conversation=spare), partition=partition
                    )
                    for spare, partition in spares.items()
                ]
                await asyncio.gather(*placed)
        except TimeoutError as error:
            raise KafkaUnavailable(f"{topics.SPARES} took nothing within {_ACK_S:g} s") from error

    async def stop(self) -> None:
        """Leave the group: others get the partitions at once. Idempotent; `take` joins again."""
        consumer, self._consumer = self._consumer, None
        self._holding = None
        if consumer is not None:
            await _left(consumer)

    async def _joined(self) -> AIOKafkaConsumer:
        if self._consumer is not None:
            if not _is_broken(self._consumer):
                return self._consumer
            await self.stop()
        consumer = AIOKafkaConsumer(
            **self._settings.client_options(GROUP),
            group_id=self._group,
            enable_auto_commit=False,
            # What was taken long ago and lies there again after the group was forgotten is too old to be used.
            auto_offset_reset="earliest",
            session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            rebalance_timeout_ms=_SESSION_MS,
            max_poll_interval_ms=_MAX_POLL_INTERVAL_MS,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
        )
        consumer.subscribe([self._topic], listener=_Listener(self, consumer))
        try:
            with translated(f"join {GROUP}"):
                async with asyncio.timeout(self._settings.request_timeout_s):
                    await consumer.start()
        except BaseException:
            self._holding = None
            await _left(consumer)
            raise
        self._consumer = consumer
        return consumer

    async def _commit(self, consumer: AIOKafkaConsumer, holding: _Holding, behind: Mapping[int, int]) -> bool:
        """Whether the group took the commit. Raises KafkaUnavailable: it may have, or not."""
        coordinator = consumer._coordinator  # noqa: SLF001 - see the module
        request = OffsetCommitRequest(
            self._group,
            holding.generation,
            holding.member,
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            [(self._topic, [(partition, offset, "") for partition, offset in behind.items()])],
        )
        with translated(f"commit for {GROUP}"):
            await coordinator.ensure_coordinator_known()
            response = await coordinator._send_req(request)  # noqa: SLF001
        codes = {code for _topic, rows in response.topics for _partition, code in rows}
        for code in codes - {0}:
            error = kafka_errors.for_code(code)
            if error in (kafka_errors.GroupCoordinatorNotAvailableError, kafka_errors.NotCoordinatorForGroupError):
                coordinator.coordinator_dead()
            log.info("spares were not committed: %s", error.__name__)
        return codes == {0}

    def hold(self, consumer: AIOKafkaConsumer, partitions: frozenset[int]) -> None:
        """A rebalance has ended."""
        coordinator = consumer._coordinator  # noqa: SLF001
        self._holding = _Holding(coordinator.generation, coordinator.member_id, partitions)

    def let_go(self) -> None:
        """A rebalance begins."""
        self._holding = None


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, spares: KafkaSpares, consumer: AIOKafkaConsumer) -> None:
        self._spares = spares
        self._consumer = consumer

    def on_partitions_revoked(self, _revoked: set[TopicPartition]) -> None:
        self._spares.let_go()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._spares.hold(self._consumer, frozenset(place.partition for place in assigned))


def _is_broken(consumer: AIOKafkaConsumer) -> bool:
    """True when aiokafka has given up its membership: only a new member comes back."""
    return bool(consumer._coordinator._coordination_task.done())  # noqa: SLF001


def _spare(record: Any) -> ConversationId | None:
    try:
        made = codec.decode(record.value or b"")
    except ContractError as error:
        log.warning("%s: offset %d can't be read: %s %s", topics.SPARES, record.offset, error, error.place)
        return None
    return made.conversation if isinstance(made, SpareMade) else None


async def _left(consumer: AIOKafkaConsumer) -> None:
    with suppress(kafka_errors.KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(_ACK_S):
            await consumer.stop()
