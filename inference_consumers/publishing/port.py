"""What a turn's course asks of Kafka: its conversation log, and the topics that everybody else reads."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from schemas.ids import ConversationId, TurnId
from schemas.records import Record, TurnDispatched
from schemas.turns import LogAddress


class TurnLog(Protocol):
    """Conversation logs. Appends to one log land in the order of the calls."""

    async def place_of(self, dispatched: TurnDispatched) -> int:
        """An offset before the turn's first `turn.started`. Any earlier place is right, a later one splices answers.

        Raises:
            KafkaUnavailable: try again later.
        """
        ...

    def read(
        self, log: LogAddress, turn: TurnId, conversation: ConversationId, start: int, stop: int | None
    ) -> AsyncIterator[tuple[int, Record]]:
        """The turn's records in [start, stop) with their offsets, in order; `stop` None = the end at the call.

        Raises:
            KafkaUnavailable: RangeGone when the start was deleted meanwhile; else try again later.
        """
        ...

    async def send(self, log: LogAddress, record: Record) -> "asyncio.Future[int]":
        """Enqueue; the future is the record's offset, or says by an error that nobody knows whether it landed."""
        ...


class Outlet(Protocol):
    """The topics beside the conversation logs."""

    async def publish(self, *facts: tuple[str, Record]) -> None:
        """Append each record to its topic and return when all are acknowledged. A repeat is harmless.

        Raises:
            KafkaUnavailable: some may be there, some not: publish all of them again.
        """
        ...
