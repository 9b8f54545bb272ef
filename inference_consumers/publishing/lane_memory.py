"""The newest stretch of one lane, read once for all turns of this worker that ride it.

Pure. A claim and an end each read their turn's stretch of the log; in a lane that stretch is mostly other
conversations' records, and without this each turn would read all of them twice.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class LaneMemory:
    """Records of [start, stop), as many of the newest as fit.

    Args:
        max_bytes: of values kept.
    """

    max_bytes: int
    start: int = 0
    stop: int = 0
    _all: deque[tuple[int, bytes, int]] = field(default_factory=deque)
    _by_key: dict[bytes, deque[tuple[int, bytes]]] = field(default_factory=dict)
    _bytes: int = 0

    def covers(self, start: int) -> bool:
        """True when reading on from `stop` makes a stretch without a gap from `start`."""
        return self.start <= start <= self.stop

    def begin(self, start: int) -> None:
        """Forget everything; the stretch begins here."""
        self.start = self.stop = start
        self._all.clear()
        self._by_key.clear()
        self._bytes = 0

    def take(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        """Keep the next record; the oldest go when there are too many bytes."""
        self.stop = max(self.stop, offset + 1)
        if key is None or value is None:
            return
        self._all.append((offset, key, len(value)))
        self._by_key.setdefault(key, deque()).append((offset, value))
        self._bytes += len(value)
        while self._bytes > self.max_bytes:
            self._drop_oldest()

    def advance(self, stop: int) -> None:
        """All below `stop` has been read."""
        self.stop = max(self.stop, stop)

    def of(self, key: bytes, start: int, stop: int) -> list[tuple[int, bytes]]:
        """The key's records of [start, stop), in order."""
        return [(offset, value) for offset, value in self._by_key.get(key, ()) if start <= offset < stop]

    def _drop_oldest(self) -> None:
        offset, key, size = self._all.popleft()
        kept = self._by_key[key]
        kept.popleft()
        if not kept:
            del self._by_key[key]
        self._bytes -= size
        self.start = offset + 1
