"""Rebalances as a member sees them."""

import pytest

from inference_consumers.intake.holdings import Change, Holdings
from inference_consumers.intake.ledger import Commit, Ledger


def _member(generation: int, *partitions: int) -> Holdings:
    holdings = Holdings()
    holdings.end_rebalance(generation, partitions)
    for holding in holdings.partitions.values():
        holding.ledger = Ledger(0)
    return holdings


def test_a_partition_that_comes_back_at_once_is_kept() -> None:
    """The generation rose by one: what comes back keeps its ledger and its generation, the rest is gone or new."""
    holdings = _member(4, 0, 1)
    ledger = holdings.partitions[0].ledger
    assert holdings.begin_rebalance(4) == frozenset()
    change = holdings.end_rebalance(5, [0, 2])
    assert change == Change(frozenset({0}), frozenset({1}), frozenset({2}))
    assert holdings.partitions[0].ledger is ledger
    assert holdings.partitions[0].generation == 4
    assert holdings.partitions[2].generation == 5
    assert holdings.generation == 5


@pytest.mark.parametrize("generation", [1, 3, 4, 6, 9])
def test_any_other_generation_makes_it_new(generation: int) -> None:
    """A generation that didn't rise by exactly one: somebody else may have had the partition in between."""
    holdings = _member(4, 0)
    holdings.begin_rebalance(4)
    change = holdings.end_rebalance(generation, [0])
    assert change == Change(frozenset(), frozenset({0}), frozenset({0}))
    assert holdings.partitions[0].ledger is None
    assert holdings.partitions[0].generation == generation


def test_the_expelled_drop_everything_before_joining() -> None:
    """A member that the group has expelled drops its partitions as the rebalance begins."""
    holdings = _member(4, 0, 1)
    assert holdings.begin_rebalance(-1) == {0, 1}
    assert not holdings.partitions
    assert holdings.end_rebalance(5, [0]).new == {0}


def test_nothing_is_stable_between_begin_and_end() -> None:
    """Commits wait for the end of a rebalance, and each step is a new epoch."""
    holdings = _member(1, 0)
    seen = [(holdings.is_stable, holdings.epoch)]
    holdings.begin_rebalance(1)
    seen.append((holdings.is_stable, holdings.epoch))
    holdings.end_rebalance(2, [0])
    seen.append((holdings.is_stable, holdings.epoch))
    assert seen == [(True, 1), (False, 2), (True, 3)]


def test_a_ledger_is_found_by_its_generation_only() -> None:
    """What finishes late, for a partition that was lost and came back, finishes nothing."""
    holdings = _member(4, 0)
    assert holdings.ledger(0, 4) is not None
    holdings.begin_rebalance(4)
    holdings.end_rebalance(6, [0])
    holdings.partitions[0].ledger = Ledger(0)
    assert holdings.ledger(0, 4) is None
    assert holdings.ledger(0, 6) is not None
    assert holdings.ledger(1, 6) is None


def test_only_what_changed_is_committed() -> None:
    """A partition is committed when its ledger says something else than the group holds, and none with an alarm."""
    holdings = _member(1, 0, 1, 2)
    for number in (0, 1, 2):
        holdings.partitions[number].committed = Commit(0, "")
        ledger = holdings.partitions[number].ledger
        assert ledger is not None
        ledger.arrive(0)
    for number in (0, 2):
        ledger = holdings.partitions[number].ledger
        assert ledger is not None
        ledger.finish(0)
    holdings.partitions[2].alarm = "lost"
    assert holdings.uncommitted() == {0: Commit(1, "")}


def test_crowded_partitions_are_named() -> None:
    """A partition whose last commit could not hold everything is named."""
    holdings = _member(1, 0, 1)
    ledger = holdings.partitions[1].ledger
    assert ledger is not None
    for offset in range(9000):
        ledger.arrive(offset)
    for offset in range(0, 9000, 2):
        ledger.finish(offset)
    holdings.uncommitted()
    assert holdings.crowded() == {1}
