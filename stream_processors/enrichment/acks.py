"""Which inputs may be acknowledged: in the order of their partition, however their effects finish.

faust commits past an unfinished input when a later one was acknowledged before it, so nothing is acknowledged out of
order (DESIGN.md, "Rules for Faust"). Pure.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Place(Generic[T]):
    item: T
    is_done: bool = False


@dataclass(slots=True)
class AckOrder(Generic[T]):
    """Inputs under way, by partition."""

    _queues: dict[Hashable, deque[_Place[T]]] = field(default_factory=dict)
    _places: dict[int, _Place[T]] = field(default_factory=dict)

    def begin(self, partition: Hashable, item: T) -> None:
        """The item was taken in: it is acknowledged behind all that were taken in before it."""
        place = _Place(item)
        self._queues.setdefault(partition, deque()).append(place)
        self._places[id(item)] = place

    def done(self, partition: Hashable, item: T) -> list[T]:
        """The item is finished; what may be acknowledged now, in order."""
        self._places[id(item)].is_done = True
        queue = self._queues[partition]
        ready: list[T] = []
        while queue and queue[0].is_done:
            place = queue.popleft()
            del self._places[id(place.item)]
            ready.append(place.item)
        if not queue:
            del self._queues[partition]
        return ready

    def __len__(self) -> int:
        return len(self._places)
