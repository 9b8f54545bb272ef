"""The row from which a reader's fold begins."""

from dataclasses import replace

from delivery.history import place
from schemas.records import TurnCompleted
from schemas.turns import LogAddress
from tests.support import samples

HERE, THERE = LogAddress("conversations", 1), LogAddress("conversation.x", 0)


def rows(*numbers: int) -> list[TurnCompleted]:
    """Rows at these places of the conversation, newest first."""
    row: TurnCompleted = samples.sample(TurnCompleted)
    return [replace(row, n=number, log=HERE, log_start=number * 10) for number in numbers]


def test_without_a_gap_it_is_the_newest() -> None:
    """Rows that follow each other are told by the last one; no rows by none."""
    assert place.anchor([]) is None
    found = place.anchor(rows(3, 2, 1))
    assert found is not None
    assert found.n == 3


def test_a_missing_turn_may_be_open() -> None:
    """A turn that ended before one accepted earlier says nothing about it: the row below the gap tells."""
    found = place.anchor(rows(5, 4, 2, 1))
    assert found is not None
    assert found.n == 2
    lowest = place.anchor(rows(6, 4, 2, 1))
    assert lowest is not None
    assert lowest.n == 2


def test_a_missing_first_turn_may_be_open() -> None:
    """Where even the lowest row isn't the first turn's, nothing is known: the log is folded from its beginning."""
    assert place.anchor(rows(3, 2)) is None
    found = place.anchor(rows(2, 1))
    assert found is not None
    assert found.n == 2


def test_an_old_gap_is_a_deleted_turn() -> None:
    """More turns than can wait at once have ended above it: it is no open turn."""
    found = place.anchor(rows(20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 9))
    assert found is not None
    assert found.n == 20


def test_a_place_is_of_its_log() -> None:
    """A row of another log, and none at all, tell no place in this one."""
    [row] = rows(3)
    assert place.start_of(row, HERE) == 30
    assert place.start_of(row, THERE) is None
    assert place.start_of(None, HERE) is None
