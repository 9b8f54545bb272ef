from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import TurnId
from schemas.records import DeploymentSet
from stream_processors.routing.elsewhere import partition_elsewhere
from stream_processors.routing.fleet import Member, Pool
from tests.support.samples import TURN, sample

DEPLOYMENT: DeploymentSet = sample(DeploymentSet)


def pool(*members: Member) -> Pool:
    return Pool(deployment=DEPLOYMENT, workers=len(members), members=members)


def test_the_least_loaded_other_worker_takes_it() -> None:
    """Its partition is named; equal ones are told apart by name."""
    there = pool(Member("a", 0.1, (0, 1)), Member("b", 0.5, (2,)), Member("c", 0.2, (3,)))
    assert partition_elsewhere(there, "a", TURN) == 3
    assert partition_elsewhere(there, "c", TURN) in (0, 1)
    assert partition_elsewhere(pool(Member("b", 0.2, (2,)), Member("c", 0.2, (3,))), "gone", TURN) == 2


def test_a_worker_without_company_takes_it_again() -> None:
    """Nobody else owns a partition, or says so: the key decides."""
    assert partition_elsewhere(pool(Member("a", 0.0, (0, 1))), "a", TURN) is None
    assert partition_elsewhere(pool(Member("a", 0.0, (0,)), Member("old", 0.0, ())), "a", TURN) is None
    assert partition_elsewhere(pool(), "a", TURN) is None


MEMBERS = st.lists(
    st.builds(Member, st.sampled_from("abcd"), st.floats(0, 2), st.lists(st.integers(0, 7), max_size=4).map(tuple)),
    max_size=4,
    unique_by=lambda member: member.name,
)


@given(MEMBERS, st.sampled_from("abcd"), st.integers(0, 99))
def test_it_is_never_the_failed_workers(members: list[Member], failed: str, number: int) -> None:
    """Whatever the reports say, also where two of them claim one partition, the turn goes to somebody else's."""
    turn = TurnId(f"{TURN}{number}")
    found = partition_elsewhere(pool(*members), failed, turn)
    owned = {each.name: set(each.partitions) for each in members}
    others = set().union(*(numbers for name, numbers in owned.items() if name != failed)) - owned.get(failed, set())
    assert found in others if others else found is None
