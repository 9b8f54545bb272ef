"""The client's half of one incremental fetch session: what the broker was told, and what it must be told next.

Pure. A request names only what is new or has moved since the last answered one, and what is to be forgotten. The broker
never advances a session's offsets by itself: each partition that brought data is named again with its next offset.

Source: KIP-227; Kafka 4.3, kafka.server.FetchSession.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

Key = tuple[str, int]
"""Topic and partition at the broker."""

_FULL: Final = 0  # epoch of a request that begins a session; with an old session's id it also ends that one
_LAST_EPOCH: Final = 2**31 - 1

NO_ERROR: Final = 0
SESSION_NOT_FOUND: Final = 70
BAD_SESSION_EPOCH: Final = 71
SESSION_ERRORS: Final = frozenset({SESSION_NOT_FOUND, BAD_SESSION_EPOCH})


class Wanted(NamedTuple):
    """One partition as a request names it."""

    key: Key
    offset: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Ask:
    """What one request says."""

    session_id: int
    epoch: int
    wanted: Sequence[Wanted]
    forgotten: Sequence[Key]


class FetchSession:
    """Members and what the broker knows of them. One request at a time: `ask`, then `answered` or `failed`."""

    __slots__ = ("_changed", "_forgotten", "_members", "_sent", "epoch", "session_id")

    def __init__(self) -> None:
        self.session_id = 0
        self.epoch = _FULL
        self._members: dict[Key, tuple[int, int]] = {}
        self._changed: set[Key] = set()
        self._forgotten: set[Key] = set()
        self._sent: set[Key] = set()

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, key: Key) -> bool:
        return key in self._members

    @property
    def keys(self) -> tuple[Key, ...]:
        """Its members."""
        return tuple(self._members)

    def put(self, key: Key, offset: int, max_bytes: int) -> None:
        """The partition is to be read from `offset` on."""
        if self._members.get(key) != (offset, max_bytes):
            self._members[key] = (offset, max_bytes)
            self._changed.add(key)

    def drop(self, key: Key) -> None:
        """The partition is read no more here. Idempotent."""
        if self._members.pop(key, None) is not None:
            self._changed.discard(key)
            if key in self._sent:
                self._forgotten.add(key)

    def ask(self) -> Ask:
        """What the next request must say. There must be a member: a session without one is closed by the broker."""
        is_full = self.epoch == _FULL
        keys = list(self._members) if is_full else list(self._changed)
        wanted = [Wanted(key, *self._members[key]) for key in keys]
        # A partition that was dropped and put back is told again, not forgotten.
        forgotten = () if is_full else tuple(key for key in self._forgotten if key not in self._members)
        if is_full:
            self._sent.clear()
        self._sent.update(keys)
        self._sent.difference_update(forgotten)
        self._changed.clear()
        self._forgotten.clear()
        return Ask(self.session_id, self.epoch, wanted, forgotten)

    def answered(self, session_id: int, error: int) -> bool:
        """The broker's answer; False when the session is gone and all is to be asked again."""
        if error != NO_ERROR:
            # The broker doesn't know the id: naming it again would end nothing.
            self.session_id = 0
            self._begin_anew()
            return False
        if session_id == 0:
            # No slot was free, or the session was emptied: every request is a full one until there is a slot.
            self.session_id = 0
            self._begin_anew()
        elif self.epoch == _FULL:
            self.session_id, self.epoch = session_id, 1
        else:
            self.epoch = 1 if self.epoch == _LAST_EPOCH else self.epoch + 1
        return True

    def failed(self) -> None:
        """No answer came: what the broker knows is unknown. The old session is ended by the next full request."""
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.epoch = _FULL
        self._sent.clear()
        self._changed.clear()
        self._forgotten.clear()
