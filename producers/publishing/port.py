"""What admission writes, and where new conversations get their logs: roles, with what their adapters owe."""

from collections.abc import Sequence
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
    """Makes and unmakes conversations' own topics. KafkaUnavailable from both."""

    async def make(self, conversations: Sequence[ConversationId]) -> None:
        """Each of them has its own topic, ready to be written. Idempotent."""

    async def unmake(self, conversations: Sequence[ConversationId]) -> None:
        """None of them has a topic. Idempotent."""
