"""Turns as they are now: the store's rows, then the log behind them, then what was accepted and hasn't got that far.

A turn is visible from the broker's acknowledgement on, whichever gateway took it: nothing here answers "unknown" before
all three places were asked.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from aiokafka.partitioner import murmur2

from infra.runtime.clock import Clock
from infra.runtime.kafka_log import LogReader, RangeGone, TopicUnknown
from infra.runtime.turn_store import TurnStore
from producers.relay.progress import Progress
from schemas import codec, ids, instants, topics
from schemas.errors import CassandraUnavailable, ContractError
from schemas.ids import ConversationId, TurnId
from schemas.records import ConversationChanged, Record, TurnAccepted, TurnCompleted, TurnRequested
from schemas.turns import LogAddress

# Clocks of machines differ, and a record's time is its writer's: a minute is the margin of the whole house.
_MARGIN_MS: Final = 60_000
# A turn without a row is open, or ended a moment ago: no older than the longest deadline.
_OLDEST_MS: Final = 12 * 3600 * 1000
# What was accepted a moment ago and isn't in its log yet: seconds, minutes behind an outage.
_ACCEPTED_MS: Final = 3600 * 1000
# As long as the log of what isn't stored is kept.
_UNSTORED_MS: Final = 24 * 3600 * 1000
_MOST_SCANNED: Final = 50_000
_OWN_HEX: Final = slice(37, 69)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A turn, as the first place that knows it tells: exactly one is there."""

    row: TurnCompleted | None = None
    progress: Progress | None = None
    requested: TurnRequested | None = None

    @property
    def fingerprint(self) -> str | None:
        """Of the body that made the turn; None when nobody remembers."""
        if self.row is not None:
            return self.row.detail.fingerprint
        if self.progress is not None:
            return self.progress.accepted.fingerprint if self.progress.accepted is not None else None
        return self.requested.request.fingerprint if self.requested is not None else None


class TurnReader:
    """Reads what there is of turns and conversations.

    Args:
        lanes: partitions of the lane topics.
    """

    def __init__(self, store: TurnStore, reader: LogReader, clock: Clock, *, lanes: int) -> None:
        self._store = store
        self._reader = reader
        self._clock = clock
        self._lanes = lanes

    def address(self, known: ConversationChanged) -> LogAddress:
        """Where the conversation's log is."""
        return topics.address(_id(known), retired=known.retired, stored=True, lanes=self._lanes)

    async def find(self, known: ConversationChanged, turn: TurnId) -> Found | None:
        """The turn of that conversation; None when it was never accepted, or is long gone.

        Raises:
            KafkaUnavailable: its log can't be read.
            CassandraUnavailable: the log doesn't know it, and the store can't be asked.
        """
        away: CassandraUnavailable | None = None
        try:
            row = await self._store.turn(turn)
        except CassandraUnavailable as error:
            row, away = None, error
        if row is not None:
            return Found(row=row)
        progress = (await self.tail(known)).get(turn)
        if progress is not None:
            return Found(progress=progress)
        requested = await self.accepted(turn)
        if requested is None and away is not None:
            raise away
        return None if requested is None else Found(requested=requested)

    async def unstored(self, turn: TurnId) -> Found | None:
        """The turn among those that aren't stored: in its lane's last day, else just accepted. Raises KafkaUnavailable.

        Reads the day of a whole lane: for turns whose ids tell no time, and that may have been there before.
        """
        conversation = ids.conversation_of(turn)
        address = topics.address(conversation, retired=True, stored=False, lanes=self._lanes)
        progress = Progress(turn)
        since_ms = self._clock.wall_ms() - _UNSTORED_MS
        try:
            start = await self._reader.offset_at(address.topic, address.partition, since_ms)
            async for record in self._records(address, start, conversation):
                if record.turn == turn:
                    progress.take_logged(record)
        except (TopicUnknown, RangeGone) as gone:
            log.info("a log is gone: %s", gone, extra={"conversation": conversation})
        if progress.accepted is not None:
            return Found(progress=progress)
        requested = await self.accepted(turn)
        return None if requested is None else Found(requested=requested)

    async def rows(
        self, conversation: ConversationId, limit: int, *, newest_first: bool, bound: int | None
    ) -> tuple[TurnCompleted, ...]:
        """Rows from a place on, exclusive of it. Raises CassandraUnavailable: a list must not leave out its middle."""
        if newest_first:
            return await self._store.newest(conversation, limit, before_n=bound)
        return await self._store.oldest(conversation, limit, after_n=bound)

    async def tail(self, known: ConversationChanged) -> dict[TurnId, Progress]:
        """What the log says of the turns that may not be in the store yet, in the order of their acceptance.

        Raises:
            KafkaUnavailable: the log can't be read.
        """
        conversation = _id(known)
        address = self.address(known)
        newest = await self._newest(conversation)
        turns: dict[TurnId, Progress] = {}
        try:
            start = await self._start(known, address, newest)
            async for record in self._records(address, start, conversation):
                if isinstance(record, TurnAccepted) and record.turn is not None:
                    turns.setdefault(record.turn, Progress(record.turn))
                progress = turns.get(record.turn) if record.turn is not None else None
                if progress is not None:
                    progress.take_logged(record)
        except (TopicUnknown, RangeGone) as gone:
            log.info("a log is gone: %s", gone, extra={"conversation": conversation})
        return turns

    async def replayed(self, row: TurnCompleted) -> Progress | None:
        """A stored turn out of its log, delta by delta; None when the log is gone."""
        if row.turn is None or row.conversation is None:
            return None
        progress = Progress(row.turn)
        try:
            start = row.log_start
            if start is None:
                start = await self._beginning(row.log, row.accepted_at)
            async for record in self._records(row.log, start, row.conversation, row.log_end + 1):
                if record.turn == row.turn:
                    progress.take_logged(record)
        except (TopicUnknown, RangeGone):
            return None
        return progress if progress.ended is not None else None

    async def accepted(self, turn: TurnId) -> TurnRequested | None:
        """The turn's request on `chat.requests`, if it was accepted within the last hour."""
        conversation = ids.conversation_of(turn)
        count = len(await self._reader.partitions(topics.REQUESTS))
        partition = (murmur2(conversation.encode()) & 0x7FFFFFFF) % count
        made_at_ms = ids.created_at_ms(turn[_OWN_HEX])
        now_ms = self._clock.wall_ms()
        since_ms = now_ms - _ACCEPTED_MS if made_at_ms is None else made_at_ms - _MARGIN_MS
        start = await self._reader.offset_at(topics.REQUESTS, partition, since_ms)
        scanned = 0
        async for record in self._records(LogAddress(topics.REQUESTS, partition), start, conversation):
            if isinstance(record, TurnRequested) and record.turn == turn:
                return record
            scanned += 1
            if scanned > _MOST_SCANNED:
                break
        return None

    async def activity(self, tenant: str, user: str) -> dict[ConversationId, str]:
        """When the user's conversations were last active; empty while the store is away."""
        try:
            return dict(await self._store.activity(tenant, user))
        except CassandraUnavailable as error:
            log.warning("the store is away: %s", error)
            return {}

    async def _newest(self, conversation: ConversationId) -> TurnCompleted | None:
        try:
            rows = await self._store.newest(conversation, 1)
        except CassandraUnavailable as error:
            log.warning("the store is away: %s", error)
            return None
        return rows[0] if rows else None

    async def _start(self, known: ConversationChanged, address: LogAddress, newest: TurnCompleted | None) -> int:
        if newest is None:
            oldest_ms = self._clock.wall_ms() - _OLDEST_MS
            created_at_ms = instants.to_ms(known.created_at)
            return await self._beginning(address, instants.from_ms(max(created_at_ms, oldest_ms)))
        if newest.log != address or newest.log_start is None:
            return await self._beginning(address, newest.accepted_at)
        beginning, _ = await self._reader.bounds(address.topic, address.partition)
        return max(beginning, newest.log_start)

    async def _beginning(self, address: LogAddress, since: str) -> int:
        """Where a reader begins that knows no place: in a lane by time, with a margin."""
        if topics.is_own_topic(address):
            return (await self._reader.bounds(address.topic, address.partition))[0]
        return await self._reader.offset_at(address.topic, address.partition, instants.to_ms(since) - _MARGIN_MS)

    async def _records(
        self, address: LogAddress, start: int, conversation: ConversationId, stop: int | None = None
    ) -> AsyncIterator[Record]:
        key = conversation.encode()
        async for entry in self._reader.read(address.topic, address.partition, start, stop):
            if entry.key != key or entry.value is None:
                continue
            try:
                yield codec.decode(entry.value)
            except ContractError as error:
                log.debug("offset %d can't be read: %s", entry.offset, error)


def _id(known: ConversationChanged) -> ConversationId:
    if known.conversation is None:
        raise ValueError("a conversation has its id")
    return known.conversation
