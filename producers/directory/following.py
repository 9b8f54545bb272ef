"""The directory: three compacted topics followed into memory, each asked again before anything is said not to exist."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from infra.runtime.kafka_follow import Follower
from infra.runtime.kafka_log import Entry
from infra.runtime.kafka_settings import KafkaSettings
from producers.directory.conversations import Conversations
from producers.directory.deployments import Deployments
from producers.directory.keys import Keys
from schemas import codec, topics
from schemas.errors import ContractError, DependencyError
from schemas.ids import ConversationId
from schemas.records import ConversationChanged, DeploymentSet, KeyChanged, Record

_ROLE: Final = "gateway"
_AGAIN_S: Final = 0.5

log = logging.getLogger(__name__)


class Followed:
    """One topic, followed into memory; `refresh` is shared by all who ask at once.

    Args:
        put: takes each record. forget: takes the key of a tombstone.
    """

    def __init__(
        self, settings: KafkaSettings, topic: str, put: Callable[[Record], None], forget: Callable[[str], None]
    ) -> None:
        self._topic = topic
        self._put = put
        self._forget = forget
        self._follower = Follower(settings, topic, self._on_entry, role=_ROLE)
        self._refreshing = asyncio.Lock()
        self._begun = 0
        self.has_started = False
        # Keys of records that only a newer version can read: what they say is unknown here, but not that they are.
        self.unread: Final[set[str]] = set()

    @property
    def is_live(self) -> bool:
        """True when what is in memory is what the topic says, a moment ago."""
        return self._follower.is_live

    async def start(self) -> None:
        """Read the topic to its end, however long Kafka is away."""
        while True:
            try:
                await self._follower.start()
            except DependencyError as error:
                log.warning("%s can't be read yet: %s", self._topic, error)
                await asyncio.sleep(_AGAIN_S)
            else:
                self.has_started = True
                return

    async def refresh(self) -> None:
        """Return when all that was acknowledged before the call is in memory. Raises KafkaUnavailable."""
        begun = self._begun
        async with self._refreshing:
            # One that began after this call has done the work for it; one that began before may have asked too early.
            if self._begun == begun:
                self._begun += 1
                await self._follower.refresh()

    async def stop(self) -> None:
        """Follow no more."""
        await self._follower.stop()

    def _on_entry(self, _partition: int, entry: Entry) -> None:
        key = (entry.key or b"").decode(errors="replace")
        if entry.value is None:
            self._forget(key)
            return
        try:
            self._put(codec.decode(entry.value))
        except ContractError as error:
            self.unread.add(key)
            log.warning("%s: offset %d can't be read: %s %s", self._topic, entry.offset, error, error.place)


class Directory:
    """Keys, conversations and deployments, as Kafka has them."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.keys: Final = Keys()
        self.conversations: Final = Conversations()
        self.deployments: Final = Deployments()
        self._keys = Followed(settings, topics.KEYS, self._put_key, self.keys.forget)
        self._conversations = Followed(settings, topics.CONVERSATIONS, self._put_conversation, lambda _: None)
        self._deployments = Followed(settings, topics.DEPLOYMENTS, self._put_deployment, self.deployments.forget)

    @property
    def has_started(self) -> bool:
        """True once all was read to its end."""
        return all(each.has_started for each in self._all)

    @property
    def is_live(self) -> bool:
        """True while Kafka answers."""
        return all(each.is_live for each in self._all)

    async def start(self) -> None:
        """Read everything to its end, however long Kafka is away."""
        await asyncio.gather(*(each.start() for each in self._all))

    async def stop(self) -> None:
        """Follow no more."""
        await asyncio.gather(*(each.stop() for each in self._all))

    async def refresh_keys(self) -> None:
        """Know every key that was made before the call. Raises KafkaUnavailable."""
        await self._keys.refresh()

    async def refresh_deployments(self) -> None:
        """Know every deployment that was made before the call. Raises KafkaUnavailable."""
        await self._deployments.refresh()

    async def conversation(self, conversation: ConversationId) -> ConversationChanged | None:
        """The conversation, asked for again when it isn't known; None when there is none. Raises KafkaUnavailable."""
        known = self.conversations.get(conversation)
        if known is None:
            await self._conversations.refresh()
            known = self.conversations.get(conversation)
        return known

    async def refresh_conversations(self) -> None:
        """Know every conversation as it was before the call. Raises KafkaUnavailable."""
        await self._conversations.refresh()

    async def nameless(self, conversations: Sequence[ConversationId]) -> Sequence[ConversationId]:
        """Those that no record named before the call, readable or not. Raises KafkaUnavailable."""
        await self._conversations.refresh()
        unread = self._conversations.unread
        return [each for each in conversations if self.conversations.get(each) is None and each not in unread]

    @property
    def _all(self) -> tuple[Followed, Followed, Followed]:
        return self._keys, self._conversations, self._deployments

    def _put_key(self, record: Record) -> None:
        if isinstance(record, KeyChanged):
            self.keys.put(record)

    def _put_conversation(self, record: Record) -> None:
        if isinstance(record, ConversationChanged):
            self.conversations.put(record)

    def _put_deployment(self, record: Record) -> None:
        if isinstance(record, DeploymentSet):
            self.deployments.put(record)
