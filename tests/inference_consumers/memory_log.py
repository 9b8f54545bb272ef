"""A conversation log and the other topics in memory, with faults by name: for the shells, not for Kafka's adapters."""

import asyncio
from collections.abc import AsyncIterator

from schemas.errors import KafkaUnavailable
from schemas.ids import ConversationId, TurnId
from schemas.records import Record, TurnDispatched
from schemas.turns import LogAddress


class MemoryLog:
    """See `publishing.port.TurnLog`: one log, whatever address is named.

    Args:
        records: what is in it.
    """

    def __init__(self, records: list[Record] | None = None) -> None:
        self.records: list[Record] = list(records or [])
        self.acts: list[str] = []
        self.traces: list[str | None] = []
        self._faults: list[bool] = []
        self.is_held = asyncio.Event()
        self.is_held.set()

    def fail_next(self, *, lands: bool) -> None:
        """The next append fails, after landing or without."""
        self._faults.append(lands)

    async def place_of(self, _dispatched: TurnDispatched) -> int:
        """The beginning."""
        return 0

    async def read(
        self, _log: LogAddress, turn: TurnId, _conversation: ConversationId, start: int, stop: int | None
    ) -> AsyncIterator[tuple[int, Record]]:
        """The turn's records."""
        self.acts.append("read")
        await asyncio.sleep(0)
        for offset, record in list(enumerate(self.records))[start:stop]:
            if record.turn == turn:
                yield offset, record

    async def send(self, _log: LogAddress, record: Record, *, trace: str | None = None) -> "asyncio.Future[int]":
        """Append; the ack comes when the log isn't held."""
        self.acts.append("send")
        self.traces.append(trace)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self._faults:
            if self._faults.pop(0):
                self.records.append(record)
            future.set_exception(KafkaUnavailable("as asked"))
            future.exception()
            return future
        await self.is_held.wait()
        self.records.append(record)
        future.set_result(len(self.records) - 1)
        return future


class MemoryOutlet:
    """See `publishing.port.Outlet`."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, Record]] = []
        self.traces: list[str | None] = []
        self.failures = 0

    async def publish(self, *facts: tuple[str, Record], trace: str | None = None) -> None:
        """Keep them, or fail as often as `failures` says."""
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise KafkaUnavailable("as asked")
        self.facts += facts
        self.traces.append(trace)
