"""Topics are made, or held against the table, before anything starts: a pure comparison, and what follows from it."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import errors as kafka_errors
from aiokafka.protocol.admin import CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest

from infra.runtime.kafka_client import FRESH_TOPIC_S, LeanClient, TopicUnknown, ours
from infra.runtime.kafka_log import connected
from infra.runtime.kafka_settings import KafkaSettings
from schemas.errors import DependencyError, KafkaUnavailable
from schemas.topics import MAX_RECORD_BYTES, Count, Topic

_TOPIC_RESOURCE: Final = 2
_BACKOFF_S: Final = 0.1
_POLL_S: Final = 0.02
# One CreateTopics of more than 10 000 metadata records is refused; a topic of one partition is about 4.
_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """A topic that is not as the table says. `str()` is one line for a person."""

    topic: str
    what: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what} is {self.found}, should be {self.wanted}"


@dataclass(frozen=True, slots=True)
class Applied:
    """What `TopicAdmin.apply` did: names created now, and what differs in those that were there."""

    created: tuple[str, ...]
    differences: tuple[Difference, ...]


class TopicAdmin:
    """Makes, checks and deletes topics. Safe to share between tasks; connects at first use.

    Args:
        settings: where Kafka is, and how many partitions and copies topics get.
        role: for the brokers' logs.
        patience_s: how long an unreachable broker is retried before KafkaUnavailable.
    """

    def __init__(self, settings: KafkaSettings, role: str, *, patience_s: float = 30.0) -> None:
        self._settings = settings
        self._client_id = f"parley-{role}-topics"
        self._patience_s = patience_s
        self._client: LeanClient | None = None
        self._connecting = asyncio.Lock()

    async def stop(self) -> None:
        """Disconnect. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def apply(self, topics: Iterable[Topic]) -> Applied:
        """Create the topics that are missing and compare the others with the table. Idempotent; changes no topic.

        Raises:
            KafkaUnavailable: no broker answered within the patience.
        """
        wanted = tuple(topics)
        known = await self._known([self._settings.named(topic.name) for topic in wanted])
        missing = [topic for topic in wanted if self._settings.named(topic.name) not in known]
        created = await self.create(missing)
        there = [topic for topic in wanted if topic.name not in created]
        return Applied(created, await self._compared(there, known))

    async def create(self, topics: Sequence[Topic]) -> tuple[str, ...]:
        """Create them and wait until they can be used; returns the names that weren't there before. Idempotent."""
        created: list[str] = []
        for first in range(0, len(topics), _AT_ONCE):
            created += await self._create(topics[first : first + _AT_ONCE])
        return tuple(created)

    async def delete(self, names: Sequence[str]) -> None:
        """Delete topics by name without the prefix; those that are gone already are fine."""
        if not names:
            return
        timeout_ms = int(self._settings.request_timeout_s * 1000)
        request = DeleteTopicsRequest([self._settings.named(name) for name in names], timeout_ms)
        response = await self._ask(request, lambda answer: [code for _, code in answer.topic_error_codes])
        for name, code in response.topic_error_codes:
            if code not in (0, kafka_errors.UnknownTopicOrPartitionError.errno):
                raise ours(kafka_errors.for_code(code)(name), f"delete {name}")

    async def exists(self, name: str) -> bool:
        """Whether the brokers know the topic, by its name without the prefix."""
        named = self._settings.named(name)
        return named in await self._known([named])

    async def names(self) -> tuple[str, ...]:
        """Every topic under our prefix, without it."""
        prefix = self._settings.topic_prefix
        response = await self._metadata(None)
        found = (row[1] for row in response.topics if row[0] == 0)
        return tuple(sorted(name.removeprefix(prefix) for name in found if name.startswith(prefix)))

    def partitions_of(self, topic: Topic) -> int:
        """How many partitions the settings give that topic."""
        return 1 if topic.count is Count.ONE else int(getattr(self._settings, topic.count.value))

    async def _create(self, topics: Sequence[Topic]) -> list[str]:
        if not topics:
            return []
        rows: list[tuple[Any, ...]] = [
            (
                self._settings.named(topic.name),
                self.partitions_of(topic),
                self._settings.replication_factor,
                [],
                list(topic.config.items()),
            )
            for topic in topics
        ]
        request = CreateTopicsRequest(rows, int(self._settings.request_timeout_s * 1000), validate_only=False)
        response = await self._ask(request, lambda answer: [row[1] for row in answer.topic_errors])
        created: list[str] = []
        for name, code, *message in response.topic_errors:
            if code == 0:
                created.append(name.removeprefix(self._settings.topic_prefix))
            elif code != kafka_errors.TopicAlreadyExistsError.errno:
                why = (message[0] if message else "") or kafka_errors.for_code(code).__name__
                raise KafkaUnavailable(f"create {name}: {why}")
        await self._wait_until_usable([row[0] for row in rows])
        return created

    async def _wait_until_usable(self, names: list[str]) -> None:
        """CreateTopics answers before every partition has a leader; who uses the topic should not find that out."""
        deadline = time.monotonic() + FRESH_TOPIC_S + self._patience_s
        while True:
            known = await self._known(names)
            without = [name for name in names if not known.get(name) or any(row[2] < 0 for row in known[name])]
            if not without:
                return
            if time.monotonic() > deadline:
                raise TopicUnknown(f"{without[0]} was created and no broker leads it yet")
            await asyncio.sleep(_POLL_S)

    async def _known(self, names: list[str]) -> dict[str, list[Any]]:
        """The partitions' rows of those that exist, by full name."""
        response = await self._metadata(names)
        return {row[1]: list(row[3]) for row in response.topics if row[0] == 0}

    async def _compared(self, topics: Sequence[Topic], known: dict[str, list[Any]]) -> tuple[Difference, ...]:
        found: list[Difference] = []
        if not topics:
            return ()
        wanted_keys = sorted({"max.message.bytes", *(key for topic in topics for key in topic.config)})
        resources = [(_TOPIC_RESOURCE, self._settings.named(topic.name), wanted_keys) for topic in topics]
        response = await self._ask(
            DescribeConfigsRequest(resources, include_synonyms=False),
            lambda answer: [row[0] for row in answer.resources],
        )
        configs = {row[3]: {entry[0]: entry[1] for entry in row[4]} for row in response.resources}
        for topic in topics:
            name = self._settings.named(topic.name)
            rows = known.get(name, [])
            found += _of_partitions(topic, rows, self.partitions_of(topic), self._settings.replication_factor)
            found += _of_config(topic, configs.get(name, {}))
        return tuple(found)

    async def _metadata(self, names: list[str] | None) -> Any:
        async def asked(client: LeanClient) -> Any:
            return await client.metadata_of(names)

        return await self._retried(asked, lambda _: [])

    async def _ask(self, request: Any, codes: Any) -> Any:
        async def asked(client: LeanClient) -> Any:
            # With KRaft any broker passes these on to the controller.
            return await client.send(client.get_random_node(), request)

        return await self._retried(asked, codes)

    async def _retried(self, asked: Any, codes: Any) -> Any:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                response = await asked(await self._connected())
                retriable = [kafka_errors.for_code(code) for code in codes(response) if _is_passing(code)]
                if not retriable:
                    return response
                raise retriable[0]
            except (kafka_errors.KafkaError, DependencyError, OSError, TimeoutError) as error:
                if isinstance(error, kafka_errors.KafkaError) and not error.retriable:
                    raise ours(error, "manage topics") from error
                if time.monotonic() > deadline:
                    raise ours(error, "manage topics") from error
                await asyncio.sleep(_BACKOFF_S)

    async def _connected(self) -> LeanClient:
        async with self._connecting:
            if self._client is None:
                self._client = await connected(self._settings, self._client_id)
            return self._client


def _is_passing(code: int) -> bool:
    """True for an answer that asks to be asked again; one that names a topic as unknown or present is an answer."""
    error = kafka_errors.for_code(code)
    return bool(error.retriable) and error is not kafka_errors.UnknownTopicOrPartitionError


def _of_partitions(topic: Topic, rows: list[Any], partitions: int, copies: int) -> list[Difference]:
    found: list[Difference] = []
    if len(rows) != partitions:
        found.append(Difference(topic.name, "number of partitions", str(partitions), str(len(rows))))
    fewest = min((len(row[3]) for row in rows), default=copies)
    if fewest < copies:
        found.append(Difference(topic.name, "number of copies", str(copies), str(fewest)))
    return found


def _of_config(topic: Topic, config: dict[str, str]) -> list[Difference]:
    found = [
        Difference(topic.name, key, wanted, config.get(key, "unknown"))
        for key, wanted in topic.config.items()
        if _settled(config.get(key)) != _settled(wanted)
    ]
    largest = config.get("max.message.bytes", "")
    if largest.isdigit() and int(largest) < MAX_RECORD_BYTES:
        found.append(Difference(topic.name, "max.message.bytes", f"at least {MAX_RECORD_BYTES}", largest))
    return found


def _settled(value: str | None) -> frozenset[str]:
    """A list in any order: brokers give `cleanup.policy` back sorted their way."""
    return frozenset(value.replace(" ", "").split(",")) if value is not None else frozenset()
