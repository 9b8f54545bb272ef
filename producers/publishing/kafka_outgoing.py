"""The outgoing log on Kafka."""

from collections.abc import Sequence

from infra.runtime.kafka import Appender
from infra.runtime.kafka_topics import TopicAdmin
from schemas import topics
from schemas.ids import ConversationId
from schemas.records import (
    ConversationChanged,
    ConversationDeleted,
    ConversationReset,
    TurnRequested,
    TurnStopRequested,
)


class KafkaOutgoingLog:
    """See `OutgoingLog`: every append waits for all replicas."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender

    async def accept(self, requested: TurnRequested) -> None:
        """Append to `chat.requests`."""
        await self._appender.append(topics.REQUESTS, requested)

    async def pass_on(self, record: ConversationReset | ConversationDeleted) -> None:
        """Append to `chat.requests`."""
        await self._appender.append(topics.REQUESTS, record)

    async def stop(self, requested: TurnStopRequested) -> None:
        """Append to `chat.control`."""
        await self._appender.append(topics.CONTROL, requested)

    async def change(self, changed: ConversationChanged) -> None:
        """Append to `chat.conversations`."""
        await self._appender.append(topics.CONVERSATIONS, changed)


class KafkaOwnTopics:
    """See `OwnTopics`."""

    def __init__(self, admin: TopicAdmin) -> None:
        self._admin = admin

    async def make(self, conversations: Sequence[ConversationId]) -> None:
        """Create their topics and wait until they have leaders."""
        await self._admin.create([topics.own_topic(each) for each in conversations])

    async def unmake(self, conversations: Sequence[ConversationId]) -> None:
        """Delete their topics."""
        await self._admin.delete([topics.own_topic(each).name for each in conversations])
