"""Reads a conversation's past through the ports: a snapshot for a new reader, or where a turn's records begin."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from delivery.history import place
from delivery.history.port import LogRanges, Rows
from delivery.history.snapshot import Snapshot, SnapshotFold
from delivery.hub.lane_index import LaneIndex, Reading
from delivery.protocol import events
from delivery.protocol.events import Logged
from infra.runtime.kafka_client import RangeGone
from schemas import ids, topics
from schemas.errors import CassandraUnavailable, ContractError, KafkaUnavailable
from schemas.ids import ConversationId, TurnId
from schemas.records import TurnCompleted
from schemas.turns import LogAddress

# 50 messages are 25 turns; one more tells that there are older ones.
_ROWS: Final = 26
# An own topic this short is read whole, which is one fetch, and no store is asked.
_SHORT_LOG: Final = 256
# Histories that are read from lanes at once. While an index isn't back yet each holds a megabyte or two of everybody's
# records: a node that had just started grew by 180 MB under readers that came a hundred at a time. Who waits longer
# than a broker's absence is borne is told to come back.
_LANES_READ_AT_ONCE: Final = 32
_WAIT_S: Final = 15.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """What is to be read.

    Args:
        end: the offset behind the last record to read.
        created_at_ms: of the conversation; None = not known.
        index: of its lane; None for an own topic.
    """

    conversation: ConversationId
    log: LogAddress
    end: int
    created_at_ms: int | None
    index: LaneIndex | None

    def reading(self, start: int) -> Reading:
        """How to come by the records from `start` up to `end`."""
        if self.index is not None:
            return self.index.reading(self.conversation, start, self.end)
        return Reading((range(start, self.end),) if start < self.end else (), ())


class Past:
    """The past of conversations.

    Args:
        ranges, rows: the ports.
        wall_ms: the clock.
        lane_lookback_ms: how far back a lane is read for a conversation's open turns: longer than any deadline.
        keyed_lookback_ms: how far back a lane is read for a turn whose id tells no time.
        on_store: told whether the store answered, for readiness.
    """

    def __init__(
        self,
        ranges: LogRanges,
        rows: Rows,
        *,
        wall_ms: Callable[[], int],
        lane_lookback_ms: int,
        keyed_lookback_ms: int,
        on_store: Callable[[bool], None],
    ) -> None:
        self._ranges = ranges
        self._rows = rows
        self._wall_ms = wall_ms
        self._lane_lookback_ms = lane_lookback_ms
        self._keyed_lookback_ms = keyed_lookback_ms
        self._on_store = on_store
        self._lane_reads = asyncio.Semaphore(_LANES_READ_AT_ONCE)

    async def snapshot(self, whose: Whose) -> Snapshot:
        """The conversation up to `whose.end`. With the store away, as much as the log holds.

        Raises:
            KafkaUnavailable: the log can't be read now.
        """
        rows = await self._newest(whose.conversation)
        anchor = place.anchor(rows)
        if whose.end == 0 and topics.is_own_topic(whose.log) and any(row.log == whose.log for row in rows):
            raise KafkaUnavailable(f"{whose.log.topic} isn't known to the broker right now")
        fold = SnapshotFold(rows, anchor)
        start = await self._snapshot_start(whose, anchor)
        async with self._turn_to_read(whose):
            async for logged in self.replay(whose, start):
                fold.take(logged)
        return fold.snapshot()

    @asynccontextmanager
    async def _turn_to_read(self, whose: Whose) -> AsyncIterator[None]:
        if whose.index is None:
            yield
            return
        try:
            async with asyncio.timeout(_WAIT_S):
                await self._lane_reads.acquire()
        except TimeoutError:
            raise KafkaUnavailable("too many histories wait to be read from lanes") from None
        try:
            yield
        finally:
            self._lane_reads.release()

    async def turn_start(self, whose: Whose, turn: TurnId) -> int:
        """An offset before every record of the turn. Raises KafkaUnavailable."""
        created_at_ms = ids.created_at_ms(turn[37:])
        if topics.is_own_topic(whose.log):
            if whose.end <= _SHORT_LOG:
                return 0
            if created_at_ms is not None:
                # The last record at the latest: it may be the one that closes the log, from before the turn was made.
                return min(await self._at(whose.log, created_at_ms - place.MARGIN_MS), whose.end - 1)
            row = await self._row(turn) or place.anchor(await self._newest(whose.conversation))
            return place.start_of(row, whose.log) or 0
        if created_at_ms is None:
            created_at_ms = self._wall_ms() - self._keyed_lookback_ms
        return await self._at(whose.log, created_at_ms - place.MARGIN_MS)

    async def replay(self, whose: Whose, start: int) -> AsyncIterator[Logged]:
        """The conversation's records from `start` up to `whose.end`; from the log's beginning where `start` is gone.

        Raises:
            KafkaUnavailable: the log can't be read now.
        """
        try:
            async for logged in self.read(whose, start):
                yield logged
        except RangeGone:
            beginning = await self._ranges.beginning(whose.log.topic, whose.log.partition)
            if beginning <= start:
                raise
            async for logged in self.read(whose, beginning):
                yield logged

    async def read(self, whose: Whose, start: int) -> AsyncIterator[Logged]:
        """The conversation's records from `start` up to `whose.end`.

        Raises:
            RangeGone: `start` isn't in the log any more.
            KafkaUnavailable: the log can't be read now.
        """
        key = whose.conversation.encode()
        # Told before the first await: the index goes on forgetting while this is read.
        reading = whose.reading(start)
        for stretch in reading.stretches:
            async for entry in self._ranges.read(whose.log.topic, whose.log.partition, stretch.start, stretch.stop):
                if entry.key == key and entry.value is not None:
                    logged = _logged(whose.log, entry.offset, entry.value)
                    if logged is not None:
                        yield logged
        for held in reading.held:
            logged = _logged(whose.log, held.offset, held.value)
            if logged is not None:
                yield logged

    async def is_kept(self, whose: Whose, start: int) -> bool:
        """True when every record from `start` on is still there, and the log is at least that long."""
        topic, partition = whose.log.topic, whose.log.partition
        if start > whose.end and start > await self._ranges.end(topic, partition):
            return False
        return await self._ranges.beginning(topic, partition) <= start

    async def _snapshot_start(self, whose: Whose, anchor: TurnCompleted | None) -> int:
        by_row = place.start_of(anchor, whose.log)
        if topics.is_own_topic(whose.log):
            return by_row or 0
        if by_row is not None and whose.index is not None and by_row >= whose.index.since:
            return by_row  # only its own stretches will be read: no use in a place that may be later
        created_at_ms = whose.created_at_ms or ids.created_at_ms(ids.conversation_hex(whose.conversation)) or 0
        since_ms = max(created_at_ms - place.MARGIN_MS, self._wall_ms() - self._lane_lookback_ms)
        return max(by_row or 0, await self._at(whose.log, since_ms))

    async def _at(self, address: LogAddress, at_ms: int) -> int:
        return await self._ranges.offset_at(address.topic, address.partition, at_ms)

    async def _newest(self, conversation: ConversationId) -> tuple[TurnCompleted, ...]:
        try:
            rows = await self._rows.newest(conversation, _ROWS)
        except CassandraUnavailable as error:
            log.warning("history without the store: %s", error)
            self._on_store(False)
            return ()
        self._on_store(True)
        return rows

    async def _row(self, turn: TurnId) -> TurnCompleted | None:
        try:
            return await self._rows.turn(turn)
        except CassandraUnavailable:
            return None


def _logged(address: LogAddress, offset: int, value: bytes) -> Logged | None:
    try:
        return events.read(offset, value)
    except ContractError as error:
        log.warning("a record can't be read: %s", error, extra=_place(address, offset))
        return None


def _place(address: LogAddress, offset: int) -> dict[str, object]:
    return {"topic": address.topic, "partition": address.partition, "offset": offset}
