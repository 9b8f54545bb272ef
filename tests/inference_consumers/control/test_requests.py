"""What a worker takes from `chat.control`."""

from inference_consumers.control.requests import StopRequests
from inference_consumers.control.stops import Stops
from infra.runtime.kafka_log import Entry
from schemas import codec
from schemas.ids import TurnId
from schemas.records import ClockTicked, TurnStopRequested
from tests.support.samples import AT, CONVERSATION, TURN, sample


def _entry(value: bytes | None) -> Entry:
    return Entry(0, 0, b"k", value)


def test_stops_are_kept_and_told() -> None:
    """A stop is kept before it is told, so that who is told finds it."""
    stops, told = Stops(10**9), list[tuple[TurnId, bool]]()
    requests = StopRequests(stops, lambda turn: told.append((turn, bool(len(stops)))))
    record = TurnStopRequested(id="s", at=AT, tenant="acme", conversation=CONVERSATION, turn=TURN)
    requests.on_entry(0, _entry(codec.encode(record)))
    assert told == [(TURN, True)]
    assert stops.has(TURN)


def test_all_else_is_passed_over() -> None:
    """Ticks, tombstones, broken bytes and stops that name no turn are nobody's stop."""
    stops, told = Stops(10**9), list[object]()
    requests = StopRequests(stops, lambda *given: told.append(given))
    nameless = TurnStopRequested(id="s", at=AT, conversation=CONVERSATION)
    broken = b'{"type":"TurnStopRequested","version":1}'
    for value in (codec.encode(sample(ClockTicked)), None, broken, b"TurnStopRequested", codec.encode(nameless)):
        requests.on_entry(0, _entry(value))
    assert not told
    assert len(stops) == 0
