"""`chat.control` as a worker reads it: stops of named turns, nothing else.

The topic also carries a clock tick a second a partition; they are told by their bytes and not parsed.
"""

from collections.abc import Callable
from typing import Final

from inference_consumers.control.stops import Stops
from infra.runtime.kafka_log import Entry
from schemas import codec, instants
from schemas.errors import ContractError
from schemas.ids import TurnId
from schemas.records import TurnStopRequested

_MARK: Final = b"TurnStopRequested"


class StopRequests:
    """Fills `stops` and tells `on_stop` of each."""

    def __init__(self, stops: Stops, on_stop: Callable[[TurnId], None]) -> None:
        self._stops = stops
        self._on_stop = on_stop

    def on_entry(self, _partition: int, entry: Entry) -> None:
        """Take the next record of `chat.control`."""
        if entry.value is None or _MARK not in entry.value:
            return
        try:
            record = codec.decode(entry.value)
            if not isinstance(record, TurnStopRequested) or record.turn is None:
                return
            self._stops.add(record.turn, instants.to_ms(record.at))
        except ContractError:
            return  # enrichment reads the same topic and sends what can't be read to dead.letters
        self._on_stop(record.turn)
