"""Following whole topics without a group: every process that does sees every record, from the beginning, in order.

For what a service keeps in memory: keys, conversations, policies, the fleet. `refresh()` makes a look-up linearizable.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiokafka import errors as kafka_errors
from aiokafka.protocol.fetch import FetchRequest

from infra.runtime.kafka_client import LeanClient, TopicUnknown, ours
from infra.runtime.kafka_log import Entry, LogReader, connected, unpacked_row
from infra.runtime.kafka_settings import KafkaSettings
from schemas.errors import DependencyError, KafkaUnavailable

OnEntry = Callable[[int, Entry], None]

# The broker answers at once when a record arrives; this only bounds how long a poll hangs on a connection that is gone.
_POLL_MS: Final = 500
_POLL_BYTES: Final = 1_048_576
_BACKOFF_S: Final = 0.1
_LONGEST_BACKOFF_S: Final = 1.0
# Three polls and a pause without an answer: what is in memory may be old.
_LIVE_S: Final = 3.0

log = logging.getLogger(__name__)


class Follower:
    """Hands every record of a topic to `on_entry`, partition by partition in order, until stopped.

    It survives brokers that go and come; while they are away `is_live` is False and nothing is skipped.

    Args:
        settings: where Kafka is.
        topic: without the prefix.
        on_entry: called on the event loop. What it raises ends the following and is raised by `refresh`.
        since_ms: None reads from the beginning; else from the first record of that time or later.
        role: for the brokers' logs.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        on_entry: OnEntry,
        *,
        since_ms: int | None = None,
        role: str = "follower",
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._on_entry = on_entry
        self._since_ms = since_ms
        self._role = role
        self._reader = LogReader(settings, f"{role}-{topic}")
        self._client: LeanClient | None = None
        self._positions: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._moved = asyncio.Condition()
        self._heard_at = 0.0
        self._has_caught_up = False
        self._failure = "the brokers sent nothing"
        self._on_progress: Callable[[], None] = _nothing

    @property
    def lag(self) -> int:
        """Records that are known to exist and aren't handed on yet."""
        return sum(max(0, end - self._positions.get(number, 0)) for number, end in self._ends.items())

    @property
    def is_live(self) -> bool:
        """True when the beginning has been read and the brokers answered a moment ago."""
        return self._has_caught_up and self._is_running and time.monotonic() - self._heard_at < _LIVE_S

    @property
    def _is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    async def start(self, *, within_s: float = 60.0) -> None:
        """Read to the ends as they are now, then go on in the background.

        Args:
            within_s: how long it may stand still. A long topic takes as long as it takes.

        Raises:
            TopicUnknown: there is no such topic.
            KafkaUnavailable: nothing was read for so long. It may be called again, and begins anew.
        """
        try:
            async with asyncio.timeout(within_s) as limit:
                self._on_progress = partial(_put_off, limit, within_s)
                await self._opened()
                self._on_progress()
                self._task = asyncio.create_task(self._run(), name=f"follow {self._topic}")
                await self._reach(dict(self._ends))
                self._on_progress = _nothing
                self._has_caught_up = True
        except TimeoutError as error:
            await self.stop()
            raise KafkaUnavailable(
                f"{self._topic} was not read to its end, and stood still for {within_s:g} s: {self._failure}"
            ) from error
        except BaseException:
            await self.stop()
            raise

    async def refresh(self, *, within_s: float = 10.0) -> None:
        """Return when all that was acknowledged before the call has been handed to `on_entry`.

        Raises:
            KafkaUnavailable: the brokers didn't answer in time.
        """
        try:
            async with asyncio.timeout(within_s):
                ends = await asyncio.gather(*(self._end(number) for number in self._positions))
                await self._reach(dict(zip(self._positions, ends, strict=True)))
        except TimeoutError as error:
            raise KafkaUnavailable(f"{self._topic} was not read to its end within {within_s:g} s") from error

    async def stop(self) -> None:
        """Stop following and disconnect. Idempotent."""
        self._on_progress = _nothing
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        await self._disconnect()
        async with self._moved:
            self._moved.notify_all()

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        await self._reader.stop()

    async def _opened(self) -> None:
        """Open, trying again while no broker answers: who starts us sets the limit."""
        while True:
            try:
                await self._open()
            except TopicUnknown:
                raise
            except KafkaUnavailable as error:
                self._failure = str(error)
                await self._disconnect()
                await asyncio.sleep(_BACKOFF_S)
            else:
                return

    async def _open(self) -> None:
        await self._reader.start()
        self._client = await connected(self._settings, f"parley-{self._role}-follow")
        self._has_caught_up = False
        for number in await self._reader.partitions(self._topic):
            beginning, end = await self._reader.bounds(self._topic, number)
            if self._since_ms is not None:
                beginning = await self._reader.offset_at(self._topic, number, self._since_ms)
            self._positions[number] = beginning
            self._ends[number] = end
        self._heard_at = time.monotonic()

    async def _end(self, number: int) -> int:
        _, end = await self._reader.bounds(self._topic, number)
        self._ends[number] = max(end, self._ends.get(number, 0))
        return end

    async def _reach(self, ends: dict[int, int]) -> None:
        async with self._moved:
            await self._moved.wait_for(
                lambda: not self._is_running or all(self._positions[number] >= end for number, end in ends.items())
            )
        if not self._is_running:
            failure = self._task.exception() if self._task is not None and not self._task.cancelled() else None
            if failure is not None:
                raise failure
            raise KafkaUnavailable(f"{self._topic} is not followed any more")

    async def _run(self) -> None:
        """One long poll per broker at a time, begun again as each returns."""
        polls: dict[asyncio.Task[None], int] = {}
        backoff_s = 0.0
        try:
            while True:
                try:
                    for node, numbers in (await self._by_leader()).items():
                        if node not in polls.values():
                            polls[asyncio.create_task(self._poll(node, numbers))] = node
                    done, _ = await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        del polls[task]
                    for task in done:
                        task.result()
                    if backoff_s:
                        log.info("following %s again", self._topic)
                    backoff_s = 0.0
                except (DependencyError, kafka_errors.KafkaError, OSError, TimeoutError) as error:
                    if not backoff_s:
                        log.warning("following %s: %s; trying again until it answers", self._topic, ours(error, "poll"))
                    backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S) or _BACKOFF_S
                    await asyncio.sleep(backoff_s)
        finally:
            for task in polls:
                task.cancel()
            await asyncio.gather(*polls, return_exceptions=True)
            async with self._moved:
                self._moved.notify_all()

    async def _by_leader(self) -> dict[int, list[int]]:
        assigned: dict[int, list[int]] = {}
        for number in self._positions:
            node = await self._live.leader(self._settings.named(self._topic), number)
            if node is None:
                await self._live.look_up(self._settings.named(self._topic))
                raise kafka_errors.LeaderNotAvailableError(self._topic)
            assigned.setdefault(node, []).append(number)
        return assigned

    @property
    def _live(self) -> LeanClient:
        if self._client is None:
            raise KafkaUnavailable(f"{self._topic} is not followed any more")
        return self._client

    async def _poll(self, node: int, numbers: list[int]) -> None:
        name = self._settings.named(self._topic)
        wanted = [(number, self._positions[number], _POLL_BYTES) for number in numbers]
        try:
            response = await self._live.send(node, FetchRequest(_POLL_MS, 1, _POLL_BYTES, 0, [(name, wanted)]))
        except kafka_errors.KafkaError:
            await self._live.look_up(name)
            raise
        self._heard_at = time.monotonic()
        for row in response.topics[0][1] if response.topics else ():
            await self._take(row)

    async def _take(self, row: tuple[Any, ...]) -> None:
        number, code = row[0], row[1]
        if code != 0:
            await self._mend(number, kafka_errors.for_code(code)(f"{self._topic}/{number}"))
            return
        fetched = unpacked_row(row, self._positions[number])
        for entry in fetched.entries:
            self._on_entry(number, entry)
        if fetched.next_offset > self._positions[number] or fetched.end > self._ends.get(number, 0):
            self._positions[number] = fetched.next_offset
            self._ends[number] = fetched.end
            self._on_progress()
            async with self._moved:
                self._moved.notify_all()

    async def _mend(self, number: int, error: kafka_errors.KafkaError) -> None:
        if not isinstance(error, kafka_errors.OffsetOutOfRangeError):
            await self._live.look_up(self._settings.named(self._topic))
            raise error
        # Retention or a log made anew took the place away: what is still there is the best that can be known.
        beginning, end = await self._reader.bounds(self._topic, number)
        log.warning(
            "%s/%d: offset %d is gone; reading on at %d", self._topic, number, self._positions[number], beginning
        )
        self._positions[number], self._ends[number] = beginning, end


def _put_off(limit: asyncio.Timeout, by_s: float) -> None:
    """Let the limit count from now on, unless it has struck already."""
    if not limit.expired():
        limit.reschedule(asyncio.get_running_loop().time() + by_s)


def _nothing() -> None:
    """Nobody waits."""
