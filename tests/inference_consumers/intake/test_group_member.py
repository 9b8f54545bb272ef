"""One member on a real group."""

from collections.abc import Mapping

from inference_consumers.intake.group_member import Fetched, GroupMember, GroupTimes
from inference_consumers.intake.ledger import Commit
from tests.inference_consumers.pool import POOL, TAKEOVER_S, Pool, dispatch_of
from tests.support.waiting import until

TIMES = GroupTimes(session_ms=3000, heartbeat_ms=300)
TOPIC = f"inference.{POOL}"


class _Member:
    """A member that keeps what it is told."""

    def __init__(self, pool: Pool) -> None:
        self.revoked: list[int] = []
        self.assigned: list[tuple[int, frozenset[int]]] = []
        self.member = GroupMember(
            pool.settings, TOPIC, "group", TIMES, on_revoked=self._on_revoked, on_assigned=self._on_assigned
        )

    async def _on_revoked(self, generation: int) -> None:
        self.revoked.append(generation)

    async def _on_assigned(self, generation: int, partitions: frozenset[int]) -> Mapping[int, int]:
        self.assigned.append((generation, partitions))
        return {}


async def test_a_commit_keeps_its_metadata(pool: Pool) -> None:
    """What is committed with a generation is there for the next who asks, metadata and all."""
    each = _Member(pool)
    await each.member.start()
    try:
        assert each.assigned == [(1, frozenset({0, 1}))]
        assert await each.member.committed([0, 1]) == {}
        assert await each.member.commit({0: Commit(5, "r1:abc")}, each.member.generation)
        assert await each.member.committed([0, 1]) == {0: Commit(5, "r1:abc")}
        large = Commit(6, "r1:" + "x" * 2997)
        assert await each.member.commit({1: large}, each.member.generation)
        assert (await each.member.committed([1]))[1] == large
    finally:
        await each.member.stop()


async def test_an_old_generation_commits_nothing(pool: Pool) -> None:
    """The broker refuses a commit under a generation that has passed, and the member goes on."""
    each = _Member(pool)
    await each.member.start()
    try:
        assert not await each.member.commit({0: Commit(5, "")}, each.member.generation - 1)
        assert await each.member.committed([0]) == {}
        assert await each.member.is_member()
    finally:
        await each.member.stop()


async def test_new_partitions_wait_for_their_beginning(pool: Pool) -> None:
    """Nothing of a new partition is fetched before `begin` says where."""
    await pool.again(dispatch_of("a"), partition=0)
    await pool.again(dispatch_of("b"), partition=0)
    each = _Member(pool)
    await each.member.start()
    try:
        assert await each.member.poll(10, 0.3) == []
        each.member.begin(0, 1)
        fetched: list[Fetched] = []
        while not fetched:
            fetched = await each.member.poll(10, 1)
        assert [(one.partition, one.offset) for one in fetched] == [(0, 1)]
        assert not each.member.is_broken
        each.member.check()
    finally:
        await each.member.stop()


async def test_a_second_member_is_told_to_all(pool: Pool) -> None:
    """A join begins a rebalance for the first: revoked under the old generation, assigned under the next."""
    first, second = _Member(pool), _Member(pool)
    await first.member.start()
    await second.member.start()
    try:

        async def shared() -> bool:
            return len(first.assigned) > 1

        await until(shared, limit_s=TAKEOVER_S)
        assert first.revoked[-1] == 1
        assert first.assigned[-1][0] == second.assigned[-1][0] == 2
        assert first.assigned[-1][1] | second.assigned[-1][1] == {0, 1}
    finally:
        await second.member.stop()
        await first.member.stop()
