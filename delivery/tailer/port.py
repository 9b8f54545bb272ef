"""What delivery asks of a tail of logs.

An implementation owes: every record of an added log from its offset on, once, in the log's order, in batches handed to
the loop's own thread; nothing of a log after `remove` returned. A log that is added is read at once, however many
others wait in a long poll. It survives brokers that go and come, leaders that move, and a topic that isn't there yet.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from schemas.turns import LogAddress


class Tailed(Protocol):
    """One record."""

    @property
    def offset(self) -> int:
        """Its place in the log."""

    @property
    def at_ms(self) -> int:
        """The writer's clock, milliseconds since 1970 UTC."""

    @property
    def key(self) -> bytes | None:
        """Its key's bytes."""

    @property
    def value(self) -> bytes | None:
        """Its value's bytes; None is a tombstone."""


class Batch(NamedTuple):
    """What one answer brought of one log."""

    address: LogAddress
    entries: Sequence[Tailed]


OnBatches = Callable[[Sequence[Batch]], None]
OnLost = Callable[[LogAddress], None]
"""The offset isn't in the log: deleted by retention, or the log was made anew. The log has been removed."""


class LogTail(Protocol):
    """Reads the ends of logs as they grow."""

    def add(self, address: LogAddress, offset: int) -> None:
        """Read the log from `offset` on; one that is read already is read from there instead."""

    def remove(self, address: LogAddress) -> None:
        """Read it no more. Idempotent."""
