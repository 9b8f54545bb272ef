"""Persistence as a service: take a batch, write it, commit it. It keeps no state, so a plain consumer does.

The commit comes behind the last write: whatever dies in between is written again, and writing again changes nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors

from infra.migrations.runner import migrate
from infra.runtime.cassandra import CassandraSettings, Store
from infra.runtime.clock import SYSTEM, Clock
from infra.runtime.kafka import Appender
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.metrics import Metrics
from infra.runtime.service import Readiness
from infra.runtime.turn_store import TurnStore
from schemas import instants, topics
from schemas.errors import CassandraUnavailable, ContractError, DependencyError
from schemas.turns import Source
from stream_processors.commit_age import CommitAge
from stream_processors.persistence.reading import ROLE, Stored, dead_letter, to_store
from stream_processors.persistence.settings import PersistenceSettings
from stream_processors.persistence.writing import PatientWriter

GROUP: Final = "parley-persistence"
_POLL_MS: Final = 500
_BACKOFF_S: Final = 0.5
# A store may be away for a night: the member keeps its partitions as long as its heart beats.
_MAX_POLL_INTERVAL_MS: Final = 7 * 24 * 3600 * 1000

log = logging.getLogger(__name__)


class Persistence:
    """The service. Build, `start`, `watch`, `drain`, `stop`.

    Args:
        kafka, cassandra, settings: where and how.
        metrics: tells the age of the last commit.
    """

    routes: Sequence[web.AbstractRouteDef] = ()

    def __init__(
        self,
        kafka: KafkaSettings,
        cassandra: CassandraSettings,
        settings: PersistenceSettings,
        metrics: Metrics,
        clock: Clock = SYSTEM,
    ) -> None:
        self._kafka = kafka
        self._settings = settings
        self._clock = clock
        self._store = Store(cassandra)
        self._writer = PatientWriter(TurnStore(self._store), settings.writers)
        self._appender = Appender(kafka, ROLE)
        self._consumer: AIOKafkaConsumer | None = None
        self._committed: dict[TopicPartition, int] = {}
        self._commit_age = CommitAge(metrics, GROUP, self, kafka.topic_prefix)
        self._is_migrated = False
        self._is_consuming = False
        self._is_draining = asyncio.Event()
        self._work: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to connect; consuming begins once the store is there and migrated."""
        await self._store.start()
        self._work = asyncio.create_task(self._run(), name="persist")
        self._commit_age.start()

    async def watch(self) -> None:
        """Raise when the service can't go on: a bug, before anything of it is committed."""
        if self._work is not None:
            await asyncio.shield(self._work)

    async def drain(self) -> None:
        """Finish and commit the batch under way, then leave the group."""
        self._is_draining.set()
        if self._work is not None:
            await asyncio.wait({self._work})

    async def stop(self) -> None:
        """Let go of everything; what isn't committed is written again by the next owner."""
        await self._commit_age.stop()
        if self._work is not None and not self._work.done():
            self._work.cancel()
            await asyncio.wait({self._work})
        if self._consumer is not None:
            await self._consumer.stop()
        await self._appender.stop()
        await self._store.stop()

    def readiness(self) -> Readiness:
        """Ready in any case: an outage that all share takes nobody out; degraded while a part is away."""
        degraded = []
        if not self._is_migrated or self._writer.is_waiting:
            degraded.append("the store is away")
        if not self._is_consuming:
            degraded.append("no records are read yet")
        return Readiness(ok=True, degraded=tuple(degraded))

    def assignment(self) -> Sequence[TopicPartition]:
        """The partitions that this process owns now."""
        return sorted(self._consumer.assignment()) if self._consumer is not None and self._is_consuming else ()

    def committed_and_end(self, partition: TopicPartition) -> tuple[int, int] | None:
        """The committed offset and the partition's end; None as long as they aren't known."""
        committed, end = self._committed.get(partition), None
        if self._consumer is not None:
            end = self._consumer.highwater(partition)
        return None if committed is None or end is None else (committed, end)

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        await self._unless_drained(self._migrate())
        await self._unless_drained(self._join())
        consumer = self._consumer
        if consumer is None:
            return
        self._is_consuming = True
        try:
            while not self._is_draining.is_set():
                batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=self._settings.batch)
                if batches:
                    await self._persist(consumer, batches)
        finally:
            self._is_consuming = False
        # Leaving at once spares the group the session timeout.
        await consumer.stop()

    async def _unless_drained(self, work: Any) -> None:
        """Run the work until it ends or a drain is asked for."""
        task = asyncio.ensure_future(work)
        asked = asyncio.ensure_future(self._is_draining.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        if not task.cancelled():
            task.result()

    async def _migrate(self) -> None:
        while True:
            try:
                applied = await migrate(self._store)
            except CassandraUnavailable as error:
                log.warning("the store can't be migrated yet: %s", error)
                await asyncio.sleep(_BACKOFF_S)
            else:
                self._is_migrated = True
                log.info("the store is up to date%s", f": applied {', '.join(applied)}" if applied else "")
                return

    async def _join(self) -> None:
        names = [self._kafka.named(topic) for topic in (topics.TURNS, topics.CONVERSATIONS)]
        while True:
            consumer = AIOKafkaConsumer(
                *names,
                **self._kafka.client_options(GROUP),
                group_id=self._kafka.named(GROUP),
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                session_timeout_ms=int(self._settings.session_timeout_s * 1000),
                heartbeat_interval_ms=int(self._settings.session_timeout_s * 100),
                max_poll_interval_ms=_MAX_POLL_INTERVAL_MS,
            )
            try:
                await consumer.start()
            except (kafka_errors.KafkaError, OSError) as error:
                log.warning("Kafka gives no records yet: %s", error)
                await consumer.stop()
                await asyncio.sleep(_BACKOFF_S)
            except BaseException:
                await consumer.stop()
                raise
            else:
                self._consumer = consumer
                return

    async def _persist(self, consumer: AIOKafkaConsumer, batches: Mapping[TopicPartition, Sequence[Any]]) -> None:
        records: list[Stored] = []
        for message in (message for batch in batches.values() for message in batch):
            try:
                record = to_store(message.value)
            except ContractError as error:
                await self._bury(message, error)
                continue
            if record is not None:
                records.append(record)
        await self._writer.write_all(records)
        await self._commit(consumer, {place: batch[-1].offset + 1 for place, batch in batches.items()})

    async def _bury(self, message: Any, error: ContractError) -> None:
        source = Source(message.topic.removeprefix(self._kafka.topic_prefix), message.partition, message.offset)
        log.error(
            "unreadable, to dead.letters: %s at %s",
            error,
            error.place,
            extra={"topic": source.topic, "partition": source.partition, "offset": source.offset},
        )
        letter = dead_letter(message.value, source, instants.from_ms(self._clock.wall_ms()), error)
        while True:
            try:
                await self._appender.append(topics.DEAD_LETTERS, letter)
            except DependencyError as failure:
                log.warning("a dead letter is not appended yet: %s; trying again", failure)
                await asyncio.sleep(_BACKOFF_S)
            else:
                return

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]) -> None:
        owned = {place: offset for place, offset in offsets.items() if place in consumer.assignment()}
        # A commit that fails is made up for by the next, or by the next owner, who writes the same rows again.
        try:
            await consumer.commit(owned)
        except (kafka_errors.KafkaError, OSError) as error:
            log.warning("not committed, to be written again at the worst: %s", error)
        else:
            self._committed.update(owned)
            with contextlib.suppress(KeyError):
                for gone in self._committed.keys() - consumer.assignment():
                    del self._committed[gone]
