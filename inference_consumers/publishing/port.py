"""What a turn's course asks of Kafka: its conversation log, and the topics that everybody else reads."""

from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Protocol

from schemas.ids import ConversationId, TurnId
from schemas.records import Record, TurnDispatched
from schemas.turns import LogAddress


class Ack(Protocol):
    """What becomes of an append: its offset, or an error that says nobody knows whether it landed. A future is one."""

    def __await__(self) -> Generator[Any, None, int]:
        """The offset. Raises KafkaUnavailable."""
        ...

    def add_done_callback(self, told: Callable[[Any], object], /) -> None:
        """Call `told` with this, once it is decided."""
        ...


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

    async def send(self, log: LogAddress, record: Record, *, trace: str | None = None) -> Ack:
        """Enqueue the record behind all that was sent to this log before. Raises KafkaUnavailable.

        Args:
            trace: the turn's `traceparent`.
        """
        ...


class Outlet(Protocol):
    """The topics beside the conversation logs."""

    async def publish(self, *facts: tuple[str, Record], trace: str | None = None) -> None:
        """Append each record to its topic and return when all are acknowledged. A repeat is harmless.

        The last is appended only when the others are acknowledged: whoever reads it finds them there.

        Args:
            trace: the turn's `traceparent`.

        Raises:
            KafkaUnavailable: some may be there, some not: publish all of them again.
        """
        ...
