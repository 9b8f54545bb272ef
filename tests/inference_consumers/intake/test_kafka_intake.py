"""Intake on a real group, with a worker that only keeps what arrives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from inference_consumers.intake.group_member import GroupTimes
from inference_consumers.intake.kafka_intake import KafkaIntake
from inference_consumers.intake.ledger import Commit
from inference_consumers.intake.port import Arrival
from schemas.errors import ContractError
from schemas.turns import Source
from tests.inference_consumers.pool import POOL, TAKEOVER_S, Pool, dispatch_of
from tests.support.waiting import until

TIMES = GroupTimes(session_ms=3000, heartbeat_ms=300)


@dataclass
class Keeper:
    """See `intake.port.Taker`."""

    most: int = 100
    arrivals: list[Arrival] = field(default_factory=list)
    broken: list[Source] = field(default_factory=list)
    dropped: list[frozenset[int]] = field(default_factory=list)
    crowds: int = 0

    def room(self) -> int:
        """What is left."""
        return self.most - len(self.arrivals)

    def take(self, arrival: Arrival) -> None:
        """Keep it."""
        self.arrivals.append(arrival)

    def unread(self, source: Source, generation: int, value: bytes, error: ContractError) -> None:
        """Keep its place."""
        del generation, value, error
        self.broken.append(source)

    def crowd(self) -> None:
        """Count."""
        self.crowds += 1

    async def drop(self, partitions: frozenset[int]) -> None:
        """Keep what was dropped."""
        self.dropped.append(partitions)

    @property
    def places(self) -> list[tuple[int, int]]:
        """Partition and offset of what arrived."""
        return sorted((each.source.partition, each.source.offset) for each in self.arrivals)

    async def has(self, count: int) -> None:
        """Wait for so many arrivals."""

        async def ask() -> bool:
            return len(self.arrivals) >= count

        await until(ask, limit_s=TAKEOVER_S)


@asynccontextmanager
async def _intake(pool: Pool, keeper: Keeper) -> AsyncIterator[KafkaIntake]:
    intake = KafkaIntake(pool.settings, POOL, TIMES, keeper, pool.reader)
    await intake.start()
    try:
        yield intake
    finally:
        await intake.leave()


async def _dispatch(pool: Pool, count: int, partition: int = 0) -> None:
    for _ in range(count):
        await pool.again(dispatch_of("x"), partition=partition)


async def test_a_fresh_group_begins_at_the_beginning(pool: Pool) -> None:
    """Without a commit everything that is there arrives, in order; what came before the assignment is not new."""
    keeper = Keeper()
    await _dispatch(pool, 3)
    async with _intake(pool, keeper) as intake:
        await keeper.has(3)
        await _dispatch(pool, 2, partition=1)
        await keeper.has(5)
        assert intake.is_member
        assert not intake.alarms()
    assert keeper.places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert [each.is_new for each in keeper.arrivals] == [False] * 3 + [True] * 2
    assert {each.generation for each in keeper.arrivals} == {1}


async def test_what_was_finished_never_arrives_again(pool: Pool) -> None:
    """Commits survive with their metadata: the next member gets only the unfinished."""
    keeper = Keeper()
    await _dispatch(pool, 6)
    async with _intake(pool, keeper) as intake:
        await keeper.has(6)
        for each in keeper.arrivals:
            if each.source.offset in (0, 2, 3, 5):
                intake.finish(each.source, each.generation)
    successor = Keeper()
    async with _intake(pool, successor):
        await successor.has(2)
        await _dispatch(pool, 1)
        await successor.has(3)
    assert successor.places == [(0, 1), (0, 4), (0, 6)]


async def test_a_full_worker_fetches_nothing(pool: Pool) -> None:
    """No more arrives than there is room for; room lets the rest come."""
    keeper = Keeper(most=2)
    await _dispatch(pool, 5)
    async with _intake(pool, keeper) as intake:
        await keeper.has(2)
        member = intake._member
        assert member is not None
        assert len(keeper.arrivals) == 2
        keeper.most = 100
        intake.has_room()
        await keeper.has(5)
    assert keeper.places == [(0, offset) for offset in range(5)]


async def test_a_kept_partition_goes_on_where_it_was(pool: Pool) -> None:
    """Two members share the partitions: what is kept is neither dropped nor fetched again, what goes is dropped."""
    first, second = Keeper(), Keeper()
    for partition in (0, 1):
        await _dispatch(pool, 2, partition)
    async with _intake(pool, first) as intake:
        await first.has(4)
        async with _intake(pool, second) as other:

            async def shared() -> bool:
                return len(intake.partitions) == 1

            await until(shared, limit_s=TAKEOVER_S)
            [kept] = intake.partitions
            [taken] = other.partitions
            assert first.dropped == [frozenset({taken})]
            await second.has(2)
            await _dispatch(pool, 1, kept)
            await first.has(5)
            assert await intake.is_owner(kept)
            assert not await intake.is_owner(taken)
            assert intake.partitions[kept].generation == 1
            assert other.partitions[taken].generation == 2
    assert sorted(place for place in first.places if place[0] == kept) == [(kept, 0), (kept, 1), (kept, 2)]
    assert second.places == [(taken, 0), (taken, 1)]


async def test_an_offset_out_of_range_is_an_alarm(pool: Pool) -> None:
    """A commit that isn't in the log stops that partition alone, is told, and nothing jumps."""
    await _dispatch(pool, 2)
    async with _intake(pool, Keeper()) as intake:
        assert intake._member is not None
        assert await intake._member.commit({0: Commit(99, "")}, intake._holdings.generation)
        intake._holdings.drop([0, 1])  # it would commit what it knows as it leaves
    successor = Keeper()
    async with _intake(pool, successor) as intake:

        async def alarmed() -> bool:
            return bool(intake.alarms())

        await until(alarmed, limit_s=TAKEOVER_S)
        assert "offset 99" in intake.alarms()[0]
        await _dispatch(pool, 1, partition=1)
        await successor.has(1)
    assert successor.places == [(1, 0)]


async def test_what_cannot_be_read_is_told_by_its_place(pool: Pool) -> None:
    """Broken bytes go to the worker for dead.letters; foreign types are passed over."""
    keeper = Keeper()
    topic = f"inference.{POOL}"
    for value in (b"{", b'{"type":"TurnDispatched","version":1}', b'{"type":"Stranger","version":1}'):
        await pool.appender.append_bytes(topic, value, key=b"same")
    await pool.again(dispatch_of("x"), partition=0)
    async with _intake(pool, keeper):
        await keeper.has(1)

        async def told() -> bool:
            return len(keeper.broken) == 2

        await until(told)
