"""The newest records of a lane, whole, by conversation: who was just cut off goes on without a broker. Pure."""

from collections import defaultdict
from typing import Final, NamedTuple

# What holding a record costs beside its bytes: tuple, offset, list slot, the head of the bytes object.
_HOLDING_BYTES: Final = 150


class Held(NamedTuple):
    """A record that is held."""

    offset: int
    value: bytes


class RecentRecords:
    """Every record from `since` on. Two generations: the younger one fills, then the older one is dropped.

    Args:
        since: the first offset that will be told.
        bound_bytes: of both generations together; 0 holds the last two records alone.
    """

    __slots__ = ("_bytes", "_half_bytes", "_older", "_older_since", "_younger", "_younger_since")

    def __init__(self, since: int, bound_bytes: int) -> None:
        self._half_bytes = bound_bytes // 2
        self._bytes = 0
        self._older: dict[bytes, list[Held]] = {}
        self._younger: defaultdict[bytes, list[Held]] = defaultdict(list)
        self._older_since = self._younger_since = since

    @property
    def since(self) -> int:
        """Every record of the lane from this offset on is held."""
        return self._older_since

    def saw(self, conversation: bytes, offset: int, value: bytes) -> None:
        """The next record of the lane."""
        self._bytes += len(value) + _HOLDING_BYTES
        if self._bytes > self._half_bytes:
            self._bytes = len(value) + _HOLDING_BYTES
            self._older, self._younger = self._younger, defaultdict(list)
            self._older_since, self._younger_since = self._younger_since, offset
        self._younger[conversation].append(Held(offset, value))

    def within(self, conversation: bytes, start: int, stop: int) -> list[Held]:
        """The conversation's records of `[start, stop)` that are held, in order."""
        held = (*self._older.get(conversation, ()), *self._younger.get(conversation, ()))
        return [each for each in held if start <= each.offset < stop]
