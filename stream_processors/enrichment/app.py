"""The gate as a faust app: the only module of this room that imports faust.

What is taken from faust: the group, the copartitioned assignment of three topics and two tables, their recovery and
their local stores. What is not: its acks (inputs are acknowledged by `acks.py`, in order), its way of writing a table
(`changelog.py`), its producer. DESIGN.md, "Rules for Faust", says why, rule by rule.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Final, cast

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from infra.runtime.kafka import KafkaSettings
from schemas import topics
from stream_processors.enrichment.changelog import Changelog
from stream_processors.enrichment.fencing import null_generation
from stream_processors.enrichment.processing import Taken
from stream_processors.enrichment.settings import EnrichmentSettings
from stream_processors.faust_app import App, Consumer, make_app, started

log = logging.getLogger(__name__)

GROUP: Final = "parley-enrichment"
GATE_TABLE: Final = "gate"
CONTEXT_TABLE: Final = "context"
INPUTS: Final = (topics.MODERATED, topics.CONTROL, topics.TURNS)

_OFFSET_KEY: Final = b"__faust\0offset__"
_MIB: Final = 1024 * 1024
# Three topics of 1 MB records: what waits in memory between fetching and the agent.
_BUFFERED: Final = 256
_COMMIT_S: Final = 0.1
_IDLE_S: Final = 0.02


class RocksStore:
    """The port of a local store on faust's own databases, one a partition."""

    def __init__(self, table: "RecoveredTable") -> None:
        self._table = table

    def _db(self, partition: int) -> Any:
        return self._table.data._db_for_partition(partition)  # noqa: SLF001 - no public way names the partition

    def get(self, partition: int, key: bytes) -> bytes | None:
        """The value, None without one."""
        value: bytes | None = self._db(partition).get(key)
        return value

    def put(self, partition: int, key: bytes, value: bytes | None) -> None:
        """The key has this value; None: it has none."""
        if value is None:
            self._db(partition).delete(key)
        else:
            self._db(partition).put(key, value)

    def put_offset(self, partition: int, offset: int) -> None:
        """The store holds all up to and with this offset of the changelog."""
        self._db(partition).put(_OFFSET_KEY, str(offset).encode())

    def items(self, partition: int, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in order, from `first` on."""
        database = self._db(partition)
        for key, value in database.items(from_key=first) if first else database.items():
            if key != _OFFSET_KEY:
                yield key, value


class RecoveredTable(faust.Table):  # type: ignore[misc]
    """A table whose recovery is ours: records go through the fence, and the gate is told when all are in."""

    changelog: Changelog
    on_ready: Callable[[set[int]], Awaitable[None]] | None = None
    on_broken: Callable[[BaseException], None]

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Records read back from the changelog, for active and standby partitions alike."""
        by_partition: dict[int, list[tuple[int, bytes, bytes | None, int]]] = {}
        for event in batch:
            message = event.message
            headers = message.headers or ()
            generation = null_generation(headers.items() if isinstance(headers, Mapping) else headers)
            row = (message.offset, message.key, message.value, generation)
            by_partition.setdefault(message.partition, []).append(row)
        try:
            for partition, rows in by_partition.items():
                self.changelog.recover(partition, rows)
        except Exception as error:
            # faust logs what recovery raises and goes on without the record.
            self.on_broken(error)
            raise

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """All tables are recovered; no input flows yet."""
        await super().on_recovery_completed(active_tps, standby_tps)
        if self.on_ready is not None:
            try:
                await self.on_ready({tp.partition for tp in active_tps})
            except Exception as error:  # noqa: BLE001 - faust would lose it in a gather
                self.on_broken(error)


class _Consumer(Consumer):
    """Takes from aiokafka what was asked for, and nothing else."""

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        """The records of these partitions.

        faust hands its own set over, and changes it while the fetch waits: when recovery ends it is empty for a moment,
        which to aiokafka means every partition. What came of the others is then dropped, but its position has moved;
        faust seeks back only where something above 0 was committed, and elsewhere inputs are lost in silence.
        """
        asked = frozenset(active_partitions or ())
        if not asked:
            await self.sleep(_IDLE_S)
            return {}
        return await super()._getmany(asked, timeout)


class _Transport(driver.Transport):  # type: ignore[misc]
    Consumer = _Consumer


class _App(App):
    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)


class GateApp:
    """The app, built but not started.

    Args:
        take: called with each input, in order. Never raises.
        on_opened: partition, the group's generation, the ends of the two changelogs: the partition is ours.
        on_closed: all partitions are about to go; every input taken before is acknowledged.
        on_broken: told of what faust itself can't go on from.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: EnrichmentSettings,
        *,
        take: Callable[[Taken], Awaitable[None]],
        on_opened: Callable[[int, int, tuple[int, int]], None],
        on_closed: Callable[[], None],
        on_broken: Callable[[BaseException], None],
    ) -> None:
        self._kafka = kafka
        self._take = take
        self._on_opened = on_opened
        self._on_closed = on_closed
        self._on_broken = on_broken
        directory = settings.data_dir.expanduser()
        directory.mkdir(parents=True, exist_ok=True)
        self.app = make_app(
            kafka,
            GROUP,
            commit_interval_s=_COMMIT_S,
            session_timeout_s=settings.session_timeout_s,
            buffered=_BUFFERED,
            datadir=directory,
            kind=_App,
            store="rocksdb://",
            topic_partitions=kafka.partitions,
            table_standby_replicas=settings.standby_replicas,
            recovery_consistency_check=True,
        )
        self.gate = self._table(GATE_TABLE, settings)
        self.context = self._table(CONTEXT_TABLE, settings)
        self.gate.on_ready = self._ready
        # One agent on one topic object: inputs of a partition's three topics never run side by side.
        names = [kafka.named(name) for name in INPUTS]
        channel = self.app.topic(*names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
        self.app.agent(channel, name="gate", concurrency=1)(self._run)
        self.app.on_partitions_revoked.connect(self._revoked, weak=False)

    def _table(self, name: str, settings: EnrichmentSettings) -> RecoveredTable:
        table = RecoveredTable(
            self.app,
            name=name,
            key_type=bytes,
            value_type=bytes,
            partitions=self._kafka.partitions,
            options={
                "block_cache_size": settings.block_cache_mib * _MIB,
                "write_buffer_size": 8 * _MIB,
                "max_write_buffer_number": 2,
                "max_open_files": 64,
            },
            beacon=self.app.tables.beacon,
        )
        table.on_broken = self._on_broken
        self.app.tables.add(table)
        return table

    async def start(self) -> None:
        """Join the group; returns when the app runs, before partitions are recovered. Raises: see `started`."""
        await started(self.app)

    async def stop(self, *, is_broken: bool) -> None:
        """Leave the group.

        Args:
            is_broken: don't wait for inputs under way: they will never be acknowledged.
        """
        if is_broken:
            self.app.abandon()
        await self.app.stop()

    async def until_stopped(self) -> None:
        """Returns when faust has stopped by itself; raises what it crashed of."""
        await self.app.wait_until_stopped()
        if self.app.crash_reason is not None:
            raise self.app.crash_reason

    @property
    def unfinished(self) -> int:
        """Inputs that faust has handed out and that aren't acknowledged."""
        return len(self.app.consumer.unacked)

    def committed(self) -> Mapping[tuple[str, int], int]:
        """The committed offset of each input partition, by topic without the prefix."""
        offsets = self.app.consumer._committed_offset  # noqa: SLF001 - nothing public tells
        own = {self._kafka.named(name): name for name in INPUTS}
        return {(own[tp.topic], tp.partition): offset for tp, offset in offsets.items() if tp.topic in own and offset}

    async def _run(self, stream: Any) -> None:
        stream.enable_acks = False  # faust acknowledges what was merely iterated over, failed or not
        async for event in stream.events():
            await self._take(self._taken(event))

    def _taken(self, event: Any) -> Taken:
        message = event.message

        def ack() -> None:
            # An input of an assignment that is over: acknowledging it would count in the next one.
            if message.generation_id == self.app.consumer_generation_id:
                self.app.finish(event)

        return Taken(
            topic=message.topic.removeprefix(self._kafka.topic_prefix),
            partition=message.partition,
            offset=message.offset,
            key=message.key,
            value=message.value,
            generation=message.generation_id,
            ack=ack,
        )

    async def _ready(self, partitions: set[int]) -> None:
        highwaters = self.app.tables.recovery.active_highwaters
        for partition in sorted(partitions):
            ends = tuple(
                highwaters.get(TP(table.changelog_topic_name, partition), -1) + 1 for table in (self.gate, self.context)
            )
            self._on_opened(partition, self.app.consumer_generation_id, cast("tuple[int, int]", ends))
            await asyncio.sleep(0)
        await self._fetch_no_changelogs(partitions)

    async def _fetch_no_changelogs(self, partitions: set[int]) -> None:
        """What we write there is not read back while we own it.

        faust pauses recovered partitions by not draining them; aiokafka fetches them all the same, and then waits 100
        ms for somebody to take the records before it fetches anything else from that broker.
        """
        thread = self.app.consumer._thread  # noqa: SLF001 - only the fetcher's own thread may tell it
        names = {table.changelog_topic_name for table in (self.gate, self.context)}

        async def pause() -> None:
            consumer = thread._consumer  # noqa: SLF001
            assigned = [p for p in consumer.assignment() if p.topic in names and p.partition in partitions]
            consumer.pause(*assigned)
            for place in assigned:
                consumer._fetcher._records.pop(place, None)  # noqa: SLF001 - fetched a moment ago, for nobody

        await thread.call_thread(pause)

    async def _revoked(self, _app: Any, _revoked: Any, **_kwargs: Any) -> None:
        self._on_closed()
