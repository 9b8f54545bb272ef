"""The tail on Kafka: per broker one poll for speaking logs and several for quiet ones, each a session, and a short one.

All but the short poll wait long at the broker. A log that is added, or woken by a record, is read by the short one
until its new poll asks for it, so it waits for no long one. What has not spoken yet is quiet, and silence makes a log
quiet again. While it moves it may be read twice: its offset drops what came before.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka import errors as kafka_errors

from delivery.tailer.port import Batch, OnBatches, OnLost
from delivery.tailer.session import FetchSession, Key
from delivery.tailer.settings import TailTuning
from delivery.tailer.wire import Answer, Fetch, Row
from infra.runtime.kafka_client import LeanClient, TopicUnknown
from infra.runtime.kafka_log import Entry, connected, unpacked
from infra.runtime.kafka_settings import KafkaSettings
from schemas.errors import DependencyError, KafkaUnavailable
from schemas.turns import LogAddress

_OFFSET_OUT_OF_RANGE: Final = 1
_FIRST_BACKOFF_S: Final = 0.02
_LONGEST_BACKOFF_S: Final = 1.0
_SWEEP_S: Final = 1.0
# A poll that has been silent for so long beyond its wait hangs on a broker that is gone.
_LIVE_S: Final = 3.0

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Poll:
    """One session, its connection and its loop.

    Args:
        arriving: what leaves its other polls as soon as this one asks for it.
    """

    node: int
    number: int
    wait_ms: int
    session: FetchSession = field(default_factory=FetchSession)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    round: int = 0
    arriving: "list[_Followed]" = field(default_factory=list)
    task: "asyncio.Task[None] | None" = None
    heard_at: float = 0.0
    is_failing: bool = False


@dataclass(frozen=True, slots=True)
class _Broker:
    """The polls at one broker: the short one, that of speaking logs, those of quiet ones."""

    short: _Poll
    hot: _Poll
    cold: tuple[_Poll, ...]

    @property
    def polls(self) -> tuple[_Poll, ...]:
        """All of them."""
        return (self.short, self.hot, *self.cold)

    @property
    def quietest(self) -> _Poll:
        """For quiet logs: the one with the fewest, of those that get through."""
        return min(self.cold, key=lambda poll: (poll.is_failing, len(poll.session)))


@dataclass(slots=True, eq=False)
class _Followed:
    """One log that is read.

    Args:
        offset: of the next record.
        polls: those that read it, each with the first round that asks for it: earlier answers are not for it.
    """

    address: LogAddress
    key: Key
    offset: int
    max_bytes: int
    heard_at: float
    polls: dict[_Poll, int] = field(default_factory=dict)
    placing: "asyncio.Task[None] | None" = None


class KafkaTail:
    """A LogTail on real brokers.

    Args:
        settings: where Kafka is.
        tuning: how it polls.
        on_batches: called on the loop with what one answer brought. What it raises ends the tail (`broken`).
        on_lost: called on the loop when a log's offset isn't in it.
        role: for the brokers' logs.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        tuning: TailTuning,
        on_batches: OnBatches,
        on_lost: OnLost,
        *,
        role: str = "delivery",
    ) -> None:
        self._settings = settings
        self._tuning = tuning
        self._on_batches = on_batches
        self._on_lost = on_lost
        self._role = role
        self._client: LeanClient | None = None
        self._followed: dict[LogAddress, _Followed] = {}
        self._by_key: dict[Key, _Followed] = {}
        self._brokers: dict[int, _Broker] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self._broken: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Connect. Raises KafkaUnavailable; it may be called again then."""
        self._client = await connected(self._settings, f"parley-{self._role}-tail")
        self._broken = asyncio.get_running_loop().create_future()
        self._sweeping = asyncio.create_task(self._sweep(), name="tail: quiet logs")
        self._sweeping.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Stop reading and disconnect. Idempotent."""
        for address in list(self._followed):
            self.remove(address)
        tasks = [each.task for each in self._polls() if each.task is not None]
        tasks += [self._sweeping] if self._sweeping is not None else []
        self._brokers.clear()
        self._sweeping = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def broken(self) -> None:
        """Wait for ever; raises what ended the tail, which is a bug."""
        if self._broken is not None:
            await asyncio.shield(self._broken)

    @property
    def is_live(self) -> bool:
        """True while every broker with logs to read answers."""
        now = time.monotonic()
        polls = (poll for poll in self._polls() if len(poll.session))
        return all(now - poll.heard_at < _LIVE_S + poll.wait_ms / 1000 for poll in polls)

    def add(self, address: LogAddress, offset: int) -> None:
        """Read the log from `offset` on, beginning with the next short poll."""
        self.remove(address)
        key = (self._settings.named(address.topic), address.partition)
        followed = _Followed(address, key, offset, self._tuning.log_bytes, time.monotonic())
        self._followed[address] = self._by_key[key] = followed
        self._place(followed, delay_s=0.0, anew=False)

    def remove(self, address: LogAddress) -> None:
        """Read it no more. Idempotent."""
        followed = self._followed.pop(address, None)
        if followed is None:
            return
        del self._by_key[followed.key]
        if followed.placing is not None:
            followed.placing.cancel()
        self._unpoll(followed)

    def _polls(self) -> list[_Poll]:
        return [poll for broker in self._brokers.values() for poll in broker.polls]

    # --- where a log is read ------------------------------------------------------------------------------------------

    def _place(self, followed: _Followed, *, delay_s: float, anew: bool) -> None:
        self._unpoll(followed)
        if followed.placing is None:
            followed.placing = asyncio.create_task(self._placed(followed, delay_s, anew=anew))
            followed.placing.add_done_callback(self._ended)

    async def _placed(self, followed: _Followed, delay_s: float, *, anew: bool) -> None:
        while True:
            if delay_s:
                await asyncio.sleep(delay_s)
            node = await self._leader(followed.key, anew=anew)
            if node is not None:
                followed.placing = None
                self._poll_at(node, followed)
                return
            anew = True
            delay_s = min(max(2 * delay_s, _FIRST_BACKOFF_S), _LONGEST_BACKOFF_S)

    async def _leader(self, key: Key, *, anew: bool) -> int | None:
        """The leader; None while it can't be told: no such topic yet, an election, no broker."""
        client = self._client
        if client is None:
            return None
        try:
            return await client.leader(*key, anew=anew)
        except TopicUnknown:
            return None
        except (kafka_errors.KafkaError, OSError, TimeoutError) as error:
            log.warning("looking for the leader of %s/%d: %s", *key, error)
            return None

    def _poll_at(self, node: int, followed: _Followed) -> None:
        broker = self._brokers.get(node)
        if broker is None:
            tuning = self._tuning
            hot, *cold = (_Poll(node, number, tuning.wait_ms) for number in range(1, 2 + tuning.cold_polls))
            broker = self._brokers[node] = _Broker(_Poll(node, 0, tuning.short_wait_ms), hot, tuple(cold))
        self._join(broker.short, followed)
        self._move(followed, broker.quietest)

    def _move(self, followed: _Followed, target: _Poll) -> None:
        """To that poll; where it is now it leaves when that one asks for it."""
        self._join(target, followed)
        target.arriving.append(followed)

    def _join(self, poll: _Poll, followed: _Followed) -> None:
        if not len(poll.session):
            poll.heard_at = time.monotonic()  # it has rested
        poll.session.put(followed.key, followed.offset, followed.max_bytes)
        followed.polls[poll] = poll.round + 1
        if poll.task is None:
            poll.task = asyncio.create_task(self._run(poll), name=f"tail: broker {poll.node}, poll {poll.number}")
            poll.task.add_done_callback(self._ended)
        poll.wake.set()

    def _unpoll(self, followed: _Followed) -> None:
        for poll in followed.polls:
            poll.session.drop(followed.key)
        followed.polls.clear()

    async def _sweep(self) -> None:
        """Move what has fallen silent to the emptiest of the quiet polls."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            quiet_since = time.monotonic() - self._tuning.quiet_s
            for broker in list(self._brokers.values()):
                for key in broker.hot.session.keys:
                    followed = self._by_key[key]
                    if followed.heard_at < quiet_since and len(followed.polls) == 1:
                        self._move(followed, broker.quietest)

    # --- one poll -----------------------------------------------------------------------------------------------------

    async def _run(self, poll: _Poll) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while True:
            if not len(poll.session):
                poll.session.failed()  # the broker has closed a session without members
                poll.wake.clear()
                await poll.wake.wait()
                continue
            try:
                answer = await self._asked(poll)
            except (kafka_errors.KafkaError, OSError, TimeoutError) as error:
                poll.session.failed()
                poll.is_failing = True
                if backoff_s == _FIRST_BACKOFF_S:  # once an outage, not once a try
                    why = str(error) or type(error).__name__
                    log.warning("reading from broker %d: %s; trying again", poll.node, why)
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
                await self._probe(poll)
                continue
            backoff_s = _FIRST_BACKOFF_S
            poll.is_failing = False
            poll.heard_at = time.monotonic()
            if poll.session.answered(answer.session_id, answer.error):
                read = self._take(poll, answer)
                if read:
                    await asyncio.sleep(self._pause_s(read))

    def _pause_s(self, read: int) -> float:
        tuning = self._tuning
        return min(max(tuning.pause_us, read * tuning.entry_pause_us) / 1e6, tuning.busy_pause_ms / 1e3)

    async def _asked(self, poll: _Poll) -> Answer:
        client = self._client
        if client is None:
            raise KafkaUnavailable("the tail has stopped")
        request = Fetch(poll.session.ask(), poll.wait_ms, self._tuning.answer_bytes)
        poll.round += 1
        sent = asyncio.ensure_future(client.send(poll.node, request, group=("tail", poll.number)))
        self._left(poll)
        answer: Answer = await sent
        return answer

    def _left(self, poll: _Poll) -> None:
        """What this poll now asks for is read by no other."""
        arriving, poll.arriving = poll.arriving, []
        for followed in arriving:
            if poll in followed.polls:
                self._leave_others(followed, (poll,))

    def _leave_others(self, followed: _Followed, kept: Sequence[_Poll]) -> None:
        for poll in [each for each in followed.polls if each not in kept]:
            poll.session.drop(followed.key)
            del followed.polls[poll]

    async def _probe(self, poll: _Poll) -> None:
        """After a failure: still the leader? One member is asked for; if it has moved, all look for theirs."""
        keys = poll.session.keys
        if not keys:
            return
        node = await self._leader(keys[0], anew=True)
        if node not in (None, poll.node):
            for key in poll.session.keys:
                self._place(self._by_key[key], delay_s=_FIRST_BACKOFF_S, anew=True)

    def _take(self, poll: _Poll, answer: Answer) -> int:
        batches: list[Batch] = []
        lost: list[LogAddress] = []
        read = 0
        for row in answer.rows:
            followed = self._by_key.get((row.topic, row.partition))
            if followed is None or followed.polls.get(poll, poll.round + 1) > poll.round:
                continue  # removed since, or added again: this answer is of before
            if row.error == _OFFSET_OUT_OF_RANGE:
                lost.append(followed.address)
            elif row.error:
                # The topic is gone, its leader has moved or its log is offline. One such member would end every long
                # poll at once: it leaves, and comes back with a leader.
                self._place(followed, delay_s=_FIRST_BACKOFF_S, anew=True)
            elif row.raw:
                entries = self._read(poll, followed, row)
                read += len(entries)
                if entries:
                    batches.append(Batch(followed.address, entries))
        if batches:
            self._on_batches(batches)
        for address in lost:
            self.remove(address)
            self._on_lost(address)
        return read

    def _read(self, poll: _Poll, followed: _Followed, row: Row) -> list[Entry]:
        try:
            fetched = unpacked(row.end, row.raw, followed.offset)
        except DependencyError as error:
            log.warning("%s/%d: %s", *followed.key, error)
            self._place(followed, delay_s=_FIRST_BACKOFF_S, anew=True)
            return []
        if fetched.next_offset > followed.offset:
            followed.offset = fetched.next_offset
            followed.heard_at = time.monotonic()
        elif len(row.raw) >= followed.max_bytes:
            followed.max_bytes *= 2  # a batch that doesn't fit came cut off
        for each in followed.polls:
            each.session.put(followed.key, followed.offset, followed.max_bytes)
        if fetched.entries:
            self._promote(poll, followed)
        return fetched.entries

    def _promote(self, poll: _Poll, followed: _Followed) -> None:
        """It speaks: no quiet poll reads it."""
        broker = self._brokers[poll.node]
        if broker.hot not in followed.polls:
            self._join(broker.short, followed)
            self._move(followed, broker.hot)
        if len(followed.polls) > 1:
            self._leave_others(followed, (broker.hot,) if poll is broker.hot else (broker.short, broker.hot))

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or task.exception() is None:
            return
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(task.exception() or KafkaUnavailable("the tail ended"))
