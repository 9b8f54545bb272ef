"""The outgoing log on Kafka."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from infra.runtime.kafka import Appender
from infra.runtime.kafka_topics import TopicAdmin
from schemas import ids, topics
from schemas.errors import ContractError, KafkaUnavailable
from schemas.ids import ConversationId
from schemas.records import (
    ConversationChanged,
    ConversationDeleted,
    ConversationReset,
    Record,
    TurnRequested,
    TurnStopRequested,
)


class KafkaOutgoingLog:
    """See `OutgoingLog`: every append waits for all replicas, and no longer than a client may be kept waiting.

    Args:
        ack_s: after which an append's outcome is unknown. The client library itself tries for as long as it takes.
    """

    def __init__(self, appender: Appender, *, ack_s: float) -> None:
        self._appender = appender
        self._ack_s = ack_s

    async def accept(self, requested: TurnRequested) -> None:
        """Append to `chat.requests`."""
        await self._append(topics.REQUESTS, requested)

    async def pass_on(self, record: ConversationReset | ConversationDeleted) -> None:
        """Append to `chat.requests`."""
        await self._append(topics.REQUESTS, record)

    async def stop(self, requested: TurnStopRequested) -> None:
        """Append to `chat.control`."""
        await self._append(topics.CONTROL, requested)

    async def change(self, changed: ConversationChanged) -> None:
        """Append to `chat.conversations`."""
        await self._append(topics.CONVERSATIONS, changed)

    async def _append(self, topic: str, record: Record) -> None:
        try:
            async with asyncio.timeout(self._ack_s):
                await self._appender.append(topic, record)
        except TimeoutError as error:
            raise KafkaUnavailable(
                f"Kafka did not acknowledge within {self._ack_s:g} s, so it may be done or not: "
                "send it again with the same Idempotency-Key"
            ) from error


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

    async def there(self) -> Sequence[ConversationId]:
        """List every topic there is; a stranger's name under our prefix is nobody's."""
        found: list[ConversationId] = []
        for name in await self._admin.names():
            if name.startswith(topics.OWN_TOPIC_PREFIX):
                with suppress(ContractError):
                    found.append(ids.parse_conversation(f"conv_{name.removeprefix(topics.OWN_TOPIC_PREFIX)}"))
        return found
