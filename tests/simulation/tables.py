"""The gate's tables: the product's changelog over a disk in memory and the model's broker."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from infra.runtime.kafka import Placed
from infra.runtime.kafka_log import Entry
from stream_processors.enrichment.changelog import Changelog
from stream_processors.enrichment.fencing import GENERATION_HEADER
from tests.simulation.broker import Broker
from tests.simulation.stepping import Ack


class Row(NamedTuple):
    """One record of a changelog; the generation is the header that fences a null value."""

    key: bytes
    value: bytes | None
    generation: int

    def entry(self, offset: int) -> Entry:
        """As a reader of the log gets it."""
        return Entry(offset, 0, self.key, self.value, ((GENERATION_HEADER, b"%d" % self.generation),))


@dataclass(slots=True)
class Disk:
    """What a gate keeps of one table on its own machine; it survives a crash, unless the machine goes too."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    place: int = -1

    def get(self, _partition: int, key: bytes) -> bytes | None:
        """The value, None without one."""
        return self.values.get(key)

    def put(self, _partition: int, key: bytes, value: bytes | None) -> None:
        """The key has this value; None: it has none."""
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value

    def put_offset(self, _partition: int, offset: int) -> None:
        """All up to and with this offset is held."""
        self.place = offset

    def items(self, _partition: int, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in order."""
        yield from ((key, value) for key, value in sorted(self.values.items()) if key >= first)


class SteppedChangelog(Changelog):
    """The product's changelog; only how a write is handed to a producer is the model's, since that needs a loop."""

    def __init__(self, broker: Broker, sender: str, topic: str, disk: Disk) -> None:
        super().__init__(topic, _unused, disk, _raise)
        self._broker = broker
        self._sender_name = sender
        self._disk = disk

    def _future(self) -> Any:
        return Ack()

    def _hand_over(self, partition: int, key: bytes) -> None:
        pending = self._pending[partition, key]
        version = pending.sent = pending.version
        sent = self._broker.send(self._sender_name, self.name, Row(key, pending.value, pending.generation))
        sent.add_done_callback(partial(self._heard, partition, key, version))

    def _heard(self, partition: int, key: bytes, version: int, sent: Ack) -> None:
        if sent.exception() is None:
            self._settle(partition, key, version, _placed(self.name, partition, sent.result()))
            return
        pending = self._pending.get((partition, key))
        if pending is not None and pending.version == version:
            pending.sent = 0
            self._offer(partition, key)

    def recovers(self) -> int:
        """Read the changelog from the disk's place to its end, which is returned."""
        rows: list[Row] = self._broker.log(self.name)
        here = self._disk.place + 1
        self.recover(0, [(here + at, *row) for at, row in enumerate(rows[here:])])
        return len(rows)

    def looks(self, generation: int, adopts: Callable[[int, bytes], bool]) -> None:
        """Answer what a zombie has written behind our back, as `ticks.Looks` does once a minute."""
        rows: list[Row] = self._broker.log(self.name)
        first = self.foreign_since(0, len(rows))
        if first is not None:
            found = [row.entry(first + at) for at, row in enumerate(rows[first:])]
            self.inspect(0, found, generation, adopts)
            self.accounted(0, len(rows))

    @property
    def is_visited(self) -> bool:
        """Whether somebody else has written since the last look."""
        return self.foreign_since(0, len(self._broker.log(self.name))) is not None


def _placed(topic: str, partition: int, offset: int) -> Any:
    ack = Ack()
    ack.set_result(Placed(topic, partition, offset))
    return ack


def _unused(*_row: Any) -> Any:
    raise AssertionError("writes are handed to the model's broker")


def _raise(error: BaseException) -> None:
    raise error
