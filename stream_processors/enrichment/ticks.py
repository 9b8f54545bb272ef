"""What happens by the clock around the gate: a tick a second for each owned partition, and looks at others."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from infra.runtime.clock import Clock
from infra.runtime.kafka import Appender, KafkaSettings, RangeGone
from infra.runtime.kafka_log import LogReader
from schemas import instants, topics
from schemas.errors import DependencyError
from schemas.records import ClockTicked, ConversationChanged
from stream_processors.enrichment.changelog import Changelog
from stream_processors.enrichment.facts import Limits, Passed
from stream_processors.enrichment.processing import Gate
from stream_processors.enrichment.reading import CLOCK_KEY

log = logging.getLogger(__name__)

_TICK_S: Final = 1.0
# 60 s: sixty looks within the hour for which compaction leaves a zombie's record beside ours.
_LOOK_S: Final = 60.0
_PERSISTENCE: Final = "parley-persistence"
_AT_ONCE: Final = 50


class Ticks:
    """Appends ClockTicked to `chat.control` for each partition that the gate owns: time as an input."""

    def __init__(self, gate: Gate, appender: Appender, clock: Clock) -> None:
        self._gate = gate
        self._appender = appender
        self._clock = clock

    async def run(self) -> None:
        """Once a second, until cancelled."""
        while True:
            now_ms = self._clock.wall_ms()
            for partition in self._gate.partitions:
                record = ClockTicked(id=f"tick.{partition}.{now_ms}", at=instants.from_ms(now_ms))
                try:
                    async with asyncio.timeout(_TICK_S):
                        await self._appender.send(topics.CONTROL, record, partition=partition, key=CLOCK_KEY)
                except (DependencyError, TimeoutError) as error:
                    log.debug("no tick: %s", error)  # the next one does as well
            await asyncio.sleep(_TICK_S)


class Looks:
    """Now and then: has a zombie written into our changelogs, how far is persistence, whom has only the directory.

    Args:
        changelogs: by topic without the prefix.
        own_topics: the conversations that have one by the directory.
        limits: how old those are before they are looked at, and how often.
    """

    def __init__(
        self,
        gate: Gate,
        changelogs: dict[str, Changelog],
        reader: LogReader,
        settings: KafkaSettings,
        *,
        own_topics: Iterable[tuple[int, ConversationChanged]],
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._gate = gate
        self._changelogs = changelogs
        self._reader = reader
        self._settings = settings
        self._own_topics = own_topics
        self._clock = clock
        self._limits = limits

    async def run(self) -> None:
        """Until cancelled."""
        again_s = self._limits.again_ms / 1000
        await asyncio.gather(
            self._every(_LOOK_S, self.look, "looking at the changelogs"),
            self._every(again_s, self.look_at_persistence, "looking at persistence"),
            self._every(again_s, self.look_at_directory, "looking at the directory"),
        )

    async def _every(self, pause_s: float, look: Callable[[], Awaitable[None]], what: str) -> None:
        while True:
            await asyncio.sleep(pause_s)
            await self._try(look, what)

    async def look(self) -> None:
        """Whatever somebody else wrote behind our back is answered by our own value. Raises DependencyError."""
        for topic, changelog in self._changelogs.items():
            for partition in self._gate.partitions:
                _, end = await self._reader.bounds(topic, partition)
                first = changelog.foreign_since(partition, end)
                if first is None:
                    continue
                entries = [entry async for entry in self._reader.read(topic, partition, first, end)]
                if partition in self._gate.partitions:
                    generation = self._gate.written_under(partition)
                    adopts = self._gate.adopts if topic == topics.CONTEXT_CHANGELOG else _nothing
                    written = changelog.inspect(partition, entries, generation, adopts)
                    changelog.accounted(partition, end)
                    if written:
                        log.warning("%s/%d: wrote %d values of a zombie over", topic, partition, len(written))

    async def look_at_persistence(self) -> None:
        """How far the store has come on each partition of `chat.turns`. Raises DependencyError."""
        options = self._settings.client_options("parley-enrichment-looks")
        for only_consumers in ("sasl_plain_username", "sasl_plain_password", "sasl_mechanism"):
            if options["security_protocol"] in ("PLAINTEXT", "SSL"):
                options.pop(only_consumers)
        admin = AIOKafkaAdminClient(**options)
        try:
            await admin.start()
            offsets = await admin.list_consumer_group_offsets(self._settings.named(_PERSISTENCE))
        finally:
            await admin.close()
        turns, conversations = self._settings.named(topics.TURNS), self._settings.named(topics.CONVERSATIONS)
        read = {(place.topic, place.partition): found.offset for place, found in offsets.items()}
        for partition in self._gate.partitions:
            self._gate.passed[partition] = Passed(
                turns=read.get((turns, partition), -1), conversations=read.get((conversations, partition), -1)
            )

    async def look_at_directory(self) -> None:
        """A conversation with a topic of its own that the gate has forgotten, or never met, is met by the next tick."""
        before_ms = self._clock.wall_ms() - self._limits.retire_ms
        for number, (partition, listed) in enumerate(self._own_topics):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # thousands of states take a while, in which turns wait
            if listed.conversation is not None and instants.to_ms(listed.created_at) < before_ms:
                self._gate.meet(partition, listed.conversation)

    async def _try(self, look: Callable[[], Awaitable[None]], what: str) -> None:
        try:
            await look()
        except (DependencyError, RangeGone, KafkaError, OSError) as error:
            log.warning("%s: %s", what, error)


def _nothing(_partition: int, _key: bytes) -> bool:
    return False
