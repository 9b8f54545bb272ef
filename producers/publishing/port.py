"""What admission writes, and where new conversations get their logs: roles, with what their adapters owe."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from schemas.ids import ConversationId
from schemas.records import (
    ConversationChanged,
    ConversationDeleted,
    ConversationReset,
    TurnRequested,
    TurnStopRequested,
)


class OutgoingLog(Protocol):
    """Appends what clients asked for. Each returns once the record is durable.

    An error says nothing about whether the record was written; the same record may be appended again, for its id is the
    same: KafkaUnavailable from any of them.
    """

    async def accept(self, requested: TurnRequested) -> None:
        """The turn will end, visibly."""

    async def pass_on(self, record: ConversationReset | ConversationDeleted) -> None:
        """The reset or deletion goes the conversation's road, behind the turns that were accepted before it."""

    async def stop(self, requested: TurnStopRequested) -> None:
        """Whoever has the turn will hear that it is to end."""

    async def change(self, changed: ConversationChanged) -> None:
        """Every gateway and delivery node will know this of the conversation."""


class OwnTopics(Protocol):
    """Makes, counts and unmakes conversations' own topics. KafkaUnavailable from all of them."""

    async def make(self, conversations: Sequence[ConversationId]) -> None:
        """Each of them has its own topic, ready to be written. Idempotent."""

    async def unmake(self, conversations: Sequence[ConversationId]) -> None:
        """None of them has a topic. Idempotent."""

    async def there(self) -> Sequence[ConversationId]:
        """All that have an own topic, whoever made it, as the brokers say."""


class SharedSpares(Protocol):
    """The spares that all gateways share: each is handed to one of them, once. KafkaUnavailable from all methods."""

    @property
    def is_makers(self) -> bool:
        """Whether it falls to this gateway to make spares, as far as it knows: for a moment two may think so."""

    async def take(self, most: int) -> Sequence[ConversationId]:
        """Up to so many, which nobody else has or gets; none after a short wait. Cancelled, it may lose some."""

    async def untaken(self) -> Mapping[int, int]:
        """How many lie in each partition."""

    async def offer(self, spares: Mapping[ConversationId, int | None]) -> None:
        """They lie there for whoever takes them: in that partition, or None = in any."""


class Names(Protocol):
    """Which conversations there are."""

    async def nameless(self, conversations: Sequence[ConversationId]) -> Sequence[ConversationId]:
        """Those of them that nobody had begun before the call. Raises KafkaUnavailable."""
