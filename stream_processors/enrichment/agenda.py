"""Which conversations want a tick, and when: a heap beside the table, rebuilt from the values' stamps. Pure."""

import heapq
from dataclasses import dataclass, field


@dataclass(slots=True)
class Agenda:
    """One partition's."""

    _due: dict[bytes, int] = field(default_factory=dict)
    _heap: list[tuple[int, bytes]] = field(default_factory=list)

    def put(self, key: bytes, due_ms: int) -> None:
        """The key wants a tick then; 0 = never."""
        if due_ms == 0:
            self._due.pop(key, None)
        elif self._due.get(key) != due_ms:
            self._due[key] = due_ms
            heapq.heappush(self._heap, (due_ms, key))
            if len(self._heap) > 64 + 4 * len(self._due):
                self._heap = [(at_ms, each) for each, at_ms in self._due.items()]
                heapq.heapify(self._heap)

    def take(self, now_ms: int) -> list[bytes]:
        """The keys whose time has come, the longest waiting first; each must be put again."""
        taken: list[bytes] = []
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, key = heapq.heappop(self._heap)
            if self._due.get(key) == due_ms:
                del self._due[key]
                taken.append(key)
        return taken

    def __len__(self) -> int:
        return len(self._due)
