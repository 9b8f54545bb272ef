"""Stops, known before and after their turns."""

from inference_consumers.control.stops import Stops
from tests.support.logs import TURNS

ONE, OTHER = TURNS[0], TURNS[1]


def test_a_stop_counts_for_its_turn_alone() -> None:
    """Known before the turn is, and nobody else's."""
    stops = Stops(1000)
    stops.add(ONE, 50)
    assert stops.has(ONE)
    assert not stops.has(OTHER)


def test_old_stops_are_forgotten() -> None:
    """Behind the longest deadline no turn is alive that a stop could be for."""
    stops = Stops(100)
    stops.add(ONE, 0)
    stops.add(OTHER, 100)
    assert stops.has(ONE)
    stops.add(OTHER, 101)
    assert not stops.has(ONE)
    assert stops.has(OTHER)
    assert len(stops) == 2
