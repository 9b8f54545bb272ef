"""What the relay needs of whoever reads conversation logs: one turn's events, from its beginning, live."""

from collections.abc import Sequence
from typing import Protocol

from schemas.errors import DependencyError
from schemas.ids import TurnId
from schemas.records import Record
from schemas.turns import LogAddress

Delivered = tuple[Record, int | None]
"""A record and, for merged deltas, the seq of the last."""


class DeliveryUnavailable(DependencyError):
    """No delivery node answers, or this gateway is going away.

    Args:
        retry_after_s: when it may be worth coming back; None = nothing is known.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Following(Protocol):
    """One reader of one turn. Records come once each, in the order of the log, without a gap."""

    async def next(self, within_s: float) -> Sequence[Delivered]:
        """What came since the last call; waits for something, and is empty when nothing came within the seconds.

        Raises:
            DeliveryUnavailable: nothing more will come.
            NotFound: the conversation was deleted.
        """

    def close(self) -> None:
        """Read no more. Idempotent."""


class TurnFeed(Protocol):
    """Follows turns, whether they exist yet or not."""

    async def follow(self, turn: TurnId, log: LogAddress, *, within_s: float) -> Following:
        """Return once every record of the turn, past or to come, is certain to arrive.

        Raises:
            DeliveryUnavailable: that couldn't be made certain in time.
            NotFound: the conversation was deleted.
        """
