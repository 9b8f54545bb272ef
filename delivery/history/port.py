"""Where the past is read from: ranges of logs, and rows of the store."""

from collections.abc import AsyncIterator
from typing import Protocol

from schemas.ids import ConversationId, TurnId
from schemas.records import TurnCompleted


class LogEntry(Protocol):
    """One record of a log."""

    @property
    def offset(self) -> int:
        """Its place."""

    @property
    def key(self) -> bytes | None:
        """The conversation."""

    @property
    def value(self) -> bytes | None:
        """The record's bytes."""


class LogRanges(Protocol):
    """Reads parts of logs. All may raise KafkaUnavailable."""

    def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> AsyncIterator[LogEntry]:
        """The records of `[start, stop)`, in order. Raises RangeGone (a KafkaUnavailable) when `start` was deleted."""

    async def beginning(self, topic: str, partition: int) -> int:
        """The first offset that is kept."""

    async def end(self, topic: str, partition: int) -> int:
        """The offset that the next record will get."""

    async def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        """The first offset whose record's time is `at_ms` or later; the end when there is none."""


class Rows(Protocol):
    """Stored turns. All may raise CassandraUnavailable."""

    async def turn(self, turn: TurnId) -> TurnCompleted | None:
        """The turn; None when it isn't stored, or not yet."""

    async def newest(
        self, conversation: ConversationId, limit: int, *, before_n: int | None = None
    ) -> tuple[TurnCompleted, ...]:
        """The conversation's last turns, newest first."""
