"""Own topics at the edge: who has one by `chat.conversations`, and taking one away for ever."""

import logging
from collections.abc import Iterator
from typing import Final, Protocol

from infra.runtime.kafka import Appender, KafkaSettings
from infra.runtime.kafka_follow import Follower
from infra.runtime.kafka_log import Entry
from infra.runtime.kafka_topics import TopicAdmin
from schemas import codec, topics
from schemas.errors import ContractError
from schemas.ids import ConversationId
from schemas.records import ConversationChanged, MovedLogged
from schemas.turns import LogAddress
from stream_processors.enrichment.inputs import Owner
from stream_processors.enrichment.listing import Listing, retired

log = logging.getLogger(__name__)

_OWN_PARTITION: Final = 0


class OwnTopics(Protocol):
    """What the gate's hands ask for. Every method may raise DependencyError, and may be repeated."""

    async def announce_retired(self, partition: int, conversation: ConversationId, *, is_deleted: bool) -> int:
        """The directory says `retired`; the offset of `chat.conversations` up to which it must have been read.

        Args:
            is_deleted: as the gate knows: a gateway that hadn't heard may have written over it.
        """
        ...

    async def close(self, moved: MovedLogged) -> None:
        """The own topic ends with this record."""
        ...

    async def delete(self, conversation: ConversationId) -> None:
        """There is no such topic."""
        ...


class KafkaOwnTopics:
    """See `OwnTopics`. Follows `chat.conversations` from `start` to `stop`."""

    def __init__(self, settings: KafkaSettings, appender: Appender, admin: TopicAdmin, role: str) -> None:
        self._appender = appender
        self._admin = admin
        self._listing = Listing()
        self._seen: dict[int, int] = {}
        self._follower = Follower(settings, topics.CONVERSATIONS, self._take, role=role)

    async def start(self) -> None:
        """Who has an own topic is known. Raises KafkaUnavailable."""
        await self._follower.start()

    async def stop(self) -> None:
        """Follow no more. Idempotent."""
        await self._follower.stop()

    @property
    def is_live(self) -> bool:
        """True while the directory is followed."""
        return self._follower.is_live

    def __iter__(self) -> Iterator[tuple[int, ConversationChanged]]:
        """The conversations that the directory has with an own topic, with their partition."""
        return iter(self._listing)

    def owner(self, conversation: ConversationId) -> Owner | None:
        """Whose conversation it is, if the directory has it with an own topic."""
        listed = self._listing.find(conversation)
        if listed is None:
            return None
        log_at = LogAddress(topics.own_topic(conversation).name, _OWN_PARTITION)
        return Owner(tenant=listed.tenant, user=listed.user, log=log_at)

    async def announce_retired(self, partition: int, conversation: ConversationId, *, is_deleted: bool) -> int:
        """See `OwnTopics`. A gateway that changed it meanwhile loses nothing: its change is said again as retired."""
        while True:
            await self._follower.refresh()
            listed = self._listing.find(conversation)
            if listed is None:
                return self._seen.get(partition, -1)
            await self._appender.append(topics.CONVERSATIONS, retired(listed, is_deleted=is_deleted))

    async def close(self, moved: MovedLogged) -> None:
        """See `OwnTopics`. Where there is no topic nobody reads."""
        if moved.conversation is None:
            return
        name = topics.own_topic(moved.conversation).name
        # Asked first: a producer that has met a topic which was deleted since tries until its patience ends, and the
        # failure costs everybody else a new one.
        if await self._admin.exists(name):
            await self._appender.append(name, moved, partition=_OWN_PARTITION)

    async def delete(self, conversation: ConversationId) -> None:
        """See `OwnTopics`."""
        await self._admin.delete([topics.own_topic(conversation).name])

    def _take(self, partition: int, entry: Entry) -> None:
        self._seen[partition] = entry.offset
        if entry.value is None:
            return
        try:
            record = codec.decode(entry.value)
        except ContractError as error:
            log.warning("a record of the directory at offset %d can't be read: %s", entry.offset, error)
            return
        if isinstance(record, ConversationChanged):
            self._listing.put(partition, record)
