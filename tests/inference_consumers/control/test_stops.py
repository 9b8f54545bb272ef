"""Stops, known before and after their turns."""

from inference_consumers.control.stops import Stops
from tests.support.logs import TURNS
from tests.support.samples import CONVERSATION

ONE, OTHER = TURNS[0], TURNS[1]


def test_a_stop_of_a_turn_counts_for_it_alone() -> None:
    """Known before the turn is, whenever it is dispatched."""
    stops = Stops(1000)
    stops.add(CONVERSATION, ONE, 50)
    assert stops.has(CONVERSATION, ONE, 10)
    assert stops.has(CONVERSATION, ONE, 500)
    assert not stops.has(CONVERSATION, OTHER, 10)


def test_a_stop_of_a_conversation_counts_for_what_was_dispatched_before() -> None:
    """The turn that was active is stopped; one that is dispatched later was not meant."""
    stops = Stops(1000)
    stops.add(CONVERSATION, None, 50)
    assert stops.has(CONVERSATION, ONE, 50)
    assert not stops.has(CONVERSATION, OTHER, 51)


def test_old_stops_are_forgotten() -> None:
    """Behind the longest deadline no turn is alive that a stop could be for."""
    stops = Stops(100)
    stops.add(CONVERSATION, ONE, 0)
    stops.add(CONVERSATION, None, 10)
    stops.add(CONVERSATION, OTHER, 105)
    assert not stops.has(CONVERSATION, ONE, 11)
    assert stops.has(CONVERSATION, ONE, 10)
    stops.add(CONVERSATION, OTHER, 300)
    assert not stops.has(CONVERSATION, ONE, 10)
    assert len(stops) == 1


def test_a_newer_stop_of_the_conversation_outlives_the_older() -> None:
    """Forgetting the first of two keeps the second."""
    stops = Stops(100)
    stops.add(CONVERSATION, None, 0)
    stops.add(CONVERSATION, None, 60)
    stops.add(CONVERSATION, OTHER, 150)
    assert stops.has(CONVERSATION, ONE, 60)
