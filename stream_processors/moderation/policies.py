"""The policies in force, followed from `policy.rules`. One a process; screens take `current` when they begin."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from infra.runtime.kafka_follow import Follower
from infra.runtime.kafka_log import Entry
from infra.runtime.kafka_settings import KafkaSettings
from schemas import codec, topics
from schemas.errors import CallerError, ContractError, DependencyError, KafkaUnavailable
from schemas.records import PolicyPublished
from stream_processors.moderation.policy import EMPTY, Policy, PolicySet

_BACKOFF_S: Final = 0.5

log = logging.getLogger(__name__)


class PolicyShelf:
    """The set that a row of records leads to. A record that can't be put in force leaves the last good one."""

    def __init__(self) -> None:
        self.policies: PolicySet = EMPTY
        self.broken: dict[str, str] = {}
        """By key, why its newest record is not in force."""

    def put(self, key: bytes | None, value: bytes | None) -> bool:
        """Take the next record of the topic; True when another set is in force. A null forgets the policy."""
        name = (key or b"").decode(errors="replace")
        before = self.policies
        try:
            self.policies = before.without(name) if value is None else before.replaced(_policy(value))
        except (ContractError, CallerError) as error:
            self.broken[name] = str(error)
            log.exception("policy %s is not in force; version %d stays", name, before.version_of(name))
            return False
        self.broken.pop(name, None)
        return True


def _policy(value: bytes) -> Policy:
    record = codec.decode(value)
    if not isinstance(record, PolicyPublished):
        raise ContractError(f"{record.type} does not belong on {topics.POLICIES}", place="$.type")
    return Policy.of(record)


class PolicyFollower:
    """Keeps the policies in force as they are published: a new one counts within milliseconds.

    Args:
        settings: where Kafka is.
        role: for the brokers' logs.
        on_change: called with each new set, on the event loop.
    """

    def __init__(
        self, settings: KafkaSettings, role: str, *, on_change: Callable[[PolicySet], None] | None = None
    ) -> None:
        self._shelf = PolicyShelf()
        self._on_change = on_change
        self._follower = Follower(settings, topics.POLICIES, self._take, role=role)
        self._is_read = False

    @property
    def current(self) -> PolicySet:
        """The policies in force. Raises KafkaUnavailable until all of them have been read: nothing may pass."""
        if not self._is_read:
            raise KafkaUnavailable(f"{topics.POLICIES} has not been read to its end: nothing may pass")
        return self._shelf.policies

    @property
    def is_live(self) -> bool:
        """True while every published policy is known within moments."""
        return self._is_read and self._follower.is_live

    @property
    def broken(self) -> tuple[str, ...]:
        """The policies whose newest record is not in force."""
        return tuple(sorted(self._shelf.broken))

    async def start(self) -> None:
        """Return when the topic has been read to its end, however long Kafka is away."""
        while True:
            try:
                await self._follower.start()
            except DependencyError as error:
                log.warning("policies can't be read yet: %s", error)
                await asyncio.sleep(_BACKOFF_S)
            else:
                break
        self._is_read = True
        if self._on_change is not None:
            self._on_change(self._shelf.policies)

    async def stop(self) -> None:
        """Follow no more; `current` stays as it is."""
        await self._follower.stop()

    def _take(self, _partition: int, entry: Entry) -> None:
        if self._shelf.put(entry.key, entry.value) and self._is_read:
            names = ", ".join(f"{each.name} {each.version}" for each in self._shelf.policies.policies)
            log.info("policies in force: %s", names or "none")
            if self._on_change is not None:
                self._on_change(self._shelf.policies)
