"""The conversation logs and the other topics on Kafka."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from inference_consumers.publishing.lane_memory import LaneMemory
from infra.runtime.kafka import Appender, Placed
from infra.runtime.kafka_log import Entry, LogReader, RangeGone
from schemas import codec, instants, topics
from schemas.errors import ContractError
from schemas.ids import ConversationId, TurnId
from schemas.records import Record, TurnDispatched
from schemas.turns import LogAddress

# In a lane a reader begins by time. 5 s: machines that keep time differ by milliseconds, and each second more is a
# second of other conversations' records to skip at every claim.
_CLOCK_MARGIN_MS: Final = 5_000
# Some seconds of a busy lane: 2 MiB are 3 000 deltas. 32 lanes of two topics then hold 64 MiB at most.
_LANE_BYTES: Final = 2 * 1_048_576


class KafkaTurnLog:
    """See `port.TurnLog`.

    Args:
        reader: shared, running.
        appender: shared, running.
    """

    def __init__(self, reader: LogReader, appender: Appender) -> None:
        self._reader = reader
        self._appender = appender
        self._lanes: dict[LogAddress, _Lane] = {}

    async def place_of(self, dispatched: TurnDispatched) -> int:
        """See `port.TurnLog.place_of`. Asks Kafka only in a lane: there much may lie behind the given place."""
        log, place = dispatched.log, dispatched.place or 0
        if topics.is_own_topic(log):
            return place
        since_ms = instants.to_ms(dispatched.accepted_at) - _CLOCK_MARGIN_MS
        # Nothing of this turn is older than its acceptance; the lane may hold hours since the turn before it.
        return max(place, await self._reader.offset_at(log.topic, log.partition, since_ms))

    async def read(
        self, log: LogAddress, turn: TurnId, conversation: ConversationId, start: int, stop: int | None
    ) -> AsyncIterator[tuple[int, Record]]:
        """See `port.TurnLog.read`. Strangers in a lane are told by their key, other turns by their bytes."""
        key, mark = conversation.encode(), turn.encode()
        lane = None if topics.is_own_topic(log) else self._lane(log)
        if lane is not None:
            stop = stop if stop is not None else (await self._reader.bounds(log.topic, log.partition))[1]
            found = await lane.of(key, start, stop)
            if found is not None:
                for offset, value in found:
                    record = _read(value, mark, turn)
                    if record is not None:
                        yield offset, record
                return
        async for entry in self._entries(log, start, stop):
            if entry.key == key and entry.value is not None:
                record = _read(entry.value, mark, turn)
                if record is not None:
                    yield entry.offset, record

    def _lane(self, log: LogAddress) -> "_Lane":
        lane = self._lanes.get(log)
        if lane is None:
            lane = self._lanes[log] = _Lane(self._reader, log)
        return lane

    async def _entries(self, log: LogAddress, start: int, stop: int | None) -> AsyncIterator[Entry]:
        has_begun = False
        try:
            async for entry in self._reader.read(log.topic, log.partition, start, stop):
                has_begun = True
                yield entry
            return
        except RangeGone:
            beginning, end = await self._reader.bounds(log.topic, log.partition)
            if has_begun or not start < beginning <= (end if stop is None else stop):
                raise
        # Retention took what lies before; a turn's own records are younger than half of any retention.
        async for entry in self._reader.read(log.topic, log.partition, beginning, stop):
            yield entry

    async def send(self, log: LogAddress, record: Record, *, trace: str | None = None) -> "asyncio.Future[int]":
        """See `port.TurnLog.send`."""
        placed = await self._appender.send(log.topic, record, partition=log.partition, trace=trace)
        offset: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def settle(done: "asyncio.Future[Placed]") -> None:
            if offset.done():
                return
            if done.cancelled():
                offset.cancel()
            elif (error := done.exception()) is not None:
                offset.set_exception(error)
                offset.exception()  # who stopped waiting was told by its own cancellation
            else:
                offset.set_result(done.result().offset)

        placed.add_done_callback(settle)
        return offset


class _Lane:
    """One lane's memory, read on by whoever needs it first."""

    def __init__(self, reader: LogReader, log: LogAddress) -> None:
        self._reader = reader
        self._log = log
        self._reading = asyncio.Lock()
        self._beginning = 0
        self.memory = LaneMemory(_LANE_BYTES)

    async def of(self, key: bytes, start: int, stop: int) -> list[tuple[int, bytes]] | None:
        """The key's records of [start, stop); None when the memory begins behind that: read it without.

        Raises:
            KafkaUnavailable: RangeGone when the log was deleted while it was read; else try again later.
        """
        async with self._reading:
            try:
                return await self._of(key, max(start, self._beginning), stop)
            except RangeGone:
                self._beginning, end = await self._reader.bounds(self._log.topic, self._log.partition)
                if not start <= self._beginning <= stop <= end:
                    raise
                # Retention overtook the memory, or the asked place: nothing of a turn that is alive lies before.
                self.memory.begin(self._beginning)
                return await self._of(key, max(start, self._beginning), stop)

    async def _of(self, key: bytes, start: int, stop: int) -> list[tuple[int, bytes]] | None:
        memory = self.memory
        if start < memory.start:
            return None
        if not memory.covers(start):
            memory.begin(start)
        found = memory.of(key, start, stop)
        if memory.stop < stop:
            # Kept beside the memory, which may lose the first of a long stretch before the last is read.
            async for entry in self._reader.read(self._log.topic, self._log.partition, memory.stop, stop):
                memory.take(entry.offset, entry.key, entry.value)
                if entry.key == key and entry.value is not None:
                    found.append((entry.offset, entry.value))
            memory.advance(stop)
        return found


def _read(value: bytes, mark: bytes, turn: TurnId) -> Record | None:
    """The turn's record in these bytes; None for another turn's, and for what no reader can read."""
    if mark not in value:
        return None
    try:
        record = codec.decode(value)
    except ContractError:
        return None
    return record if record.turn == turn else None


class KafkaOutlet:
    """See `port.Outlet`."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender

    async def publish(self, *facts: tuple[str, Record], trace: str | None = None) -> None:
        """See `port.Outlet.publish`."""
        *others, (topic, last) = facts
        # Enqueued one after the other, so that their order within a key holds.
        acks = [await self._appender.send(each, record, trace=trace) for each, record in others]
        for ack in acks:
            await ack
        # Who dies between the two leaves no turn record without its usage: nobody looks at a turn that has one.
        await self._appender.append(topic, last, trace=trace)


__all__ = ["KafkaOutlet", "KafkaTurnLog", "RangeGone"]
