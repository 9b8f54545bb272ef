"""Dispatched turns off the pool's topic into the worker, and finished ones back into the group's offsets.

Nothing is generated inside this loop. It polls only while the worker has room, opens what a rebalance brought, and
commits in the background under the generation that the group had when the commit was made.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from inference_consumers.intake.group_member import Fetched, GroupMember, GroupTimes, PartitionAlarm
from inference_consumers.intake.holdings import Holding, Holdings
from inference_consumers.intake.ledger import Commit, Ledger
from inference_consumers.intake.port import Arrival, Taker
from infra.runtime.kafka import KafkaSettings
from infra.runtime.kafka_log import LogReader
from schemas import codec, ids, topics
from schemas.codec import UnknownRecord
from schemas.errors import ContractError, DependencyError
from schemas.records import TurnDispatched
from schemas.turns import Source

log = logging.getLogger(__name__)

_POLL_S: Final = 0.2
_BACKOFF_S: Final = 0.2
# Commits of turns that end together travel together; a commit costs the broker a write of its own topic.
_COMMIT_EVERY_S: Final = 0.05


class KafkaIntake:
    """See `port.Intake`.

    Args:
        pool: whose topic and group.
        taker: the worker.
        reader: shared, for the ends of partitions.
    """

    def __init__(self, settings: KafkaSettings, pool: str, times: GroupTimes, taker: Taker, reader: LogReader) -> None:
        self._settings = settings
        self._times = times
        self._taker = taker
        self._reader = reader
        self.topic: Final = topics.inference_topic(pool).name
        self.group: Final = f"parley-inference-{pool}"
        self._holdings = Holdings()
        self._member: GroupMember | None = None
        self._has_finished = asyncio.Event()
        self._has_room = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._is_leaving = False
        self._committed_at: dict[int, float] = {}

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the group and begin to take. Raises KafkaUnavailable; it may be called again then."""
        await self._join()
        self._tasks = (
            asyncio.create_task(self._take_all(), name="intake"),
            asyncio.create_task(self._commit_all(), name="commit"),
        )

    async def pause(self) -> None:
        """Take nothing more; the membership and what is unfinished stay."""
        self._is_leaving = True
        if self._tasks:
            self._tasks[0].cancel()
            await asyncio.wait({self._tasks[0]})

    async def leave(self) -> None:
        """Commit what is finished and leave the group at once. Idempotent."""
        self._is_leaving = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = ()
        member, self._member = self._member, None
        if member is None:
            return
        try:
            await self._commit_once(member)
        except DependencyError as error:
            log.warning("leaving without a last commit: %s", error)
        await member.stop()

    async def abandon(self) -> None:
        """Leave without committing: the engine is dead, nobody knows what is true."""
        self._holdings.drop(tuple(self._holdings.partitions))
        await self.leave()

    async def watch(self) -> None:
        """Raise what ended the loops: a bug of ours."""
        done, _going_on = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    # --- what the worker asks -----------------------------------------------------------------------------------------

    def finish(self, source: Source, generation: int) -> None:
        """See `port.Intake.finish`."""
        ledger = self._holdings.ledger(source.partition, generation)
        if ledger is not None:
            ledger.finish(source.offset)
            self._has_finished.set()

    def crowded(self) -> frozenset[int]:
        """See `port.Intake.crowded`."""
        return self._holdings.crowded()

    async def is_owner(self, partition: int) -> bool:
        """See `port.Intake.is_owner`."""
        member = self._member
        if member is None or partition not in self._holdings.partitions:
            return False
        return await member.is_member() and self._holdings.is_stable and partition in self._holdings.partitions

    def has_room(self) -> None:
        """The worker has room again."""
        self._has_room.set()

    @property
    def partitions(self) -> Mapping[int, Holding]:
        """What is ours now."""
        return self._holdings.partitions

    @property
    def is_member(self) -> bool:
        """True when the group counts this worker in."""
        return self._member is not None and self._holdings.is_stable

    def alarms(self) -> tuple[str, ...]:
        """What a person must look at."""
        return tuple(each.alarm for each in self._holdings.partitions.values() if each.alarm is not None)

    def commit_ages_s(self) -> dict[int, float]:
        """Seconds since a partition's last commit while it holds unfinished turns, else 0."""
        now = time.monotonic()
        return {
            number: now - self._committed_at.get(number, now) if each.ledger and each.ledger.unfinished else 0.0
            for number, each in self._holdings.partitions.items()
        }

    # --- the group ----------------------------------------------------------------------------------------------------

    async def _join(self) -> None:
        member = GroupMember(
            self._settings,
            self.topic,
            self.group,
            self._times,
            on_revoked=self._on_revoked,
            on_assigned=self._on_assigned,
        )
        self._member = member
        try:
            await member.start()
        except BaseException:
            self._member = None
            await member.stop()
            raise

    async def _on_revoked(self, generation: int) -> None:
        gone = self._holdings.begin_rebalance(generation)
        if gone:
            log.warning("the group has expelled this worker: %d partitions are dropped", len(gone))
            await self._taker.drop(gone)

    async def _on_assigned(self, generation: int, assigned: frozenset[int]) -> Mapping[int, int]:
        change = self._holdings.end_rebalance(generation, assigned)
        if change.gone:
            await self._taker.drop(change.gone)
        now = time.monotonic()
        self._committed_at = {number: self._committed_at.get(number, now) for number in assigned}
        log.info(
            "generation %d: partitions kept %s, new %s, gone %s",
            generation,
            sorted(change.kept),
            sorted(change.new),
            sorted(change.gone),
        )
        self._has_room.set()  # whoever waits for room looks at the partitions again
        positions = {number: self._holdings.partitions[number] for number in change.kept}
        return {
            number: each.ledger.position
            for number, each in positions.items()
            if each.ledger is not None and each.alarm is None
        }

    async def _open(self, member: GroupMember) -> None:
        """Read the commits of partitions that are new, and begin to read them there."""
        closed = {number for number, each in self._holdings.partitions.items() if each.ledger is None}
        if not closed:
            return
        epoch = self._holdings.epoch
        committed = await member.committed(closed)
        bounds = {number: await self._reader.bounds(self.topic, number) for number in closed}
        if epoch != self._holdings.epoch:
            return  # another rebalance: all of it is asked again
        for number in closed:
            beginning, end = bounds[number]
            # A fresh group begins at the beginning, on purpose.
            commit = committed.get(number) or Commit(beginning, "")
            holding = self._holdings.partitions[number]
            holding.ledger, holding.end, holding.committed = Ledger.load(commit), end, committed.get(number)
            if not beginning <= commit.offset <= end:
                self._raise_alarm(number, commit.offset)
                continue
            member.begin(number, commit.offset)

    def _raise_alarm(self, partition: int, offset: int) -> None:
        text = f"{self.topic}/{partition}: offset {offset} of group {self.group} is not in the log; set it by hand"
        holding = self._holdings.partitions.get(partition)
        if holding is not None and holding.alarm is None:
            holding.alarm = text
            log.error("%s", text)

    # --- taking -------------------------------------------------------------------------------------------------------

    async def _take_all(self) -> None:
        while True:
            try:
                member = await self._working_member()
                await self._open(member)
                await self._take_some(member)
            except PartitionAlarm as alarm:
                for number, offset in alarm.partitions.items():
                    self._raise_alarm(number, offset)
                    if self._member is not None and number in self._holdings.partitions:
                        self._member.pause(number)
            except DependencyError as error:
                log.warning("intake: %s; trying again", error)
                await asyncio.sleep(_BACKOFF_S)

    async def _working_member(self) -> GroupMember:
        member = self._member
        if member is not None and not member.is_broken:
            return member
        # aiokafka's coordination ended on an error it doesn't expect: begin anew, as a new member.
        await self._taker.drop(self._holdings.drop(tuple(self._holdings.partitions)))
        self._holdings.is_stable = False
        if member is not None:
            self._member = None
            try:
                await member.stop()
            except DependencyError as error:
                log.warning("a broken membership was left behind: %s", error)
        await self._join()
        return await self._working_member()

    async def _take_some(self, member: GroupMember) -> None:
        room = self._taker.room()
        if room <= 0 or not self._holdings.partitions:
            member.check()
            await self._wait_for_room()
            return
        epoch = self._holdings.epoch
        fetched = await member.poll(room, _POLL_S)
        if epoch != self._holdings.epoch:
            # Fetched under another assignment: what is still ours is fetched again from where it was left.
            self._seek_again(member, fetched)
            return
        for each in fetched:
            self._arrive(each)

    async def _wait_for_room(self) -> None:
        self._has_room.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_S):
                await self._has_room.wait()

    def _seek_again(self, member: GroupMember, fetched: list[Fetched]) -> None:
        for number in {each.partition for each in fetched}:
            holding = self._holdings.partitions.get(number)
            if holding is not None and holding.ledger is not None and holding.alarm is None:
                member.begin(number, holding.ledger.position)

    def _arrive(self, fetched: Fetched) -> None:
        holding = self._holdings.partitions.get(fetched.partition)
        if holding is None or holding.ledger is None or not holding.ledger.arrive(fetched.offset):
            return
        source = Source(self.topic, fetched.partition, fetched.offset)
        try:
            dispatched = _read(fetched.value)
        except UnknownRecord:
            self.finish(source, holding.generation)
            return
        except ContractError as error:
            self._taker.unread(source, holding.generation, fetched.value or b"", error)
            return
        self._taker.take(
            Arrival(
                source=source,
                dispatched=dispatched,
                generation=holding.generation,
                is_new=fetched.offset >= holding.end,
            )
        )

    # --- committing ---------------------------------------------------------------------------------------------------

    async def _commit_all(self) -> None:
        while True:
            await self._has_finished.wait()
            await asyncio.sleep(_COMMIT_EVERY_S)
            self._has_finished.clear()
            member = self._member
            if member is None:
                continue
            try:
                await self._commit_once(member)
            except DependencyError as error:
                log.warning("%s; committing again soon", error)
                self._has_finished.set()
                await asyncio.sleep(_BACKOFF_S)

    async def _commit_once(self, member: GroupMember) -> None:
        holdings = self._holdings
        if not holdings.is_stable:
            # After the rebalance there is a finish or an assignment, or the partition is gone.
            self._has_finished.set()
            return
        commits, generation = holdings.uncommitted(), holdings.generation
        if not commits:
            return
        if not await member.commit(commits, generation):
            self._has_finished.set()
            return
        now = time.monotonic()
        for number, commit in commits.items():
            holding = holdings.partitions.get(number)
            if holding is not None:
                holding.committed = commit
                self._committed_at[number] = now
        if self.crowded():
            self._taker.crowd()


def _read(value: bytes | None) -> TurnDispatched:
    """The dispatch in these bytes, with the ids that a worker can't do without. Raises ContractError, UnknownRecord."""
    if value is None:
        raise UnknownRecord("a tombstone", place="$")
    record = codec.decode(value)
    if not isinstance(record, TurnDispatched):
        raise UnknownRecord(f"{record.type} is none of a worker's", place="$.type")
    if record.turn is None or record.conversation is None or record.tenant is None:
        raise ContractError("a dispatch names its tenant, conversation and turn", place="$.turn")
    if ids.conversation_of(record.turn) != record.conversation:
        raise ContractError("the turn is of another conversation", place="$.turn")
    return record
