"""The conversation logs and the other topics on Kafka."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from infra.runtime.kafka import Appender, Placed
from infra.runtime.kafka_log import LogReader, RangeGone
from schemas import codec, instants, topics
from schemas.errors import ContractError
from schemas.ids import ConversationId, TurnId
from schemas.records import Record, TurnDispatched
from schemas.turns import LogAddress

# In a lane a reader begins by time. 15 s: clocks of our machines and writers' queues differ by less, and each second
# more is a second of other conversations' records to skip at every claim.
_CLOCK_MARGIN_MS: Final = 15_000


class KafkaTurnLog:
    """See `port.TurnLog`.

    Args:
        reader: shared, running.
        appender: shared, running.
    """

    def __init__(self, reader: LogReader, appender: Appender) -> None:
        self._reader = reader
        self._appender = appender

    async def place_of(self, dispatched: TurnDispatched) -> int:
        """See `port.TurnLog.place_of`; never before what retention has left."""
        log = dispatched.log
        if dispatched.place is not None:
            beginning, _end = await self._reader.bounds(log.topic, log.partition)
            return max(dispatched.place, beginning)
        if topics.is_own_topic(log):
            beginning, _end = await self._reader.bounds(log.topic, log.partition)
            return beginning
        since_ms = instants.to_ms(dispatched.accepted_at) - _CLOCK_MARGIN_MS
        return await self._reader.offset_at(log.topic, log.partition, since_ms)

    async def read(
        self, log: LogAddress, turn: TurnId, conversation: ConversationId, start: int, stop: int | None
    ) -> AsyncIterator[tuple[int, Record]]:
        """See `port.TurnLog.read`. Strangers in a lane are told by their key, other turns by their bytes."""
        key, mark = conversation.encode(), turn.encode()
        async for entry in self._reader.read(log.topic, log.partition, start, stop):
            if entry.key != key or entry.value is None or mark not in entry.value:
                continue
            try:
                record = codec.decode(entry.value)
            except ContractError:
                continue  # every reader drops what it can't read
            if record.turn == turn:
                yield entry.offset, record

    async def send(self, log: LogAddress, record: Record) -> "asyncio.Future[int]":
        """See `port.TurnLog.send`."""
        placed = await self._appender.send(log.topic, record, partition=log.partition)
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


class KafkaOutlet:
    """See `port.Outlet`."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender

    async def publish(self, *facts: tuple[str, Record]) -> None:
        """See `port.Outlet.publish`."""
        # Enqueued one after the other, so that their order within a key holds; only the acks are gathered.
        acks = [await self._appender.send(topic, record) for topic, record in facts]
        await asyncio.gather(*acks)


__all__ = ["KafkaOutlet", "KafkaTurnLog", "RangeGone"]
