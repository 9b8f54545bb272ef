"""What one connection has yet to be sent: frames in order, bounded; deltas that wait are merged into one.

While the socket takes what is written, events leave as the bytes that all readers share. Once it doesn't (the soft
limit is the transport's), deltas that wait are merged. Over the hard limit the connection is closed, and the client
resumes (contract, section 6).
"""

from collections.abc import Hashable
from typing import Any, Final

from delivery.protocol.events import LogEvent, event_frame
from schemas import codec
from schemas.records import TurnDelta

# What a merged delta adds beside its text: an entry in a list and a reference.
_MERGED_OVERHEAD_BYTES: Final = 16


class MergedDeltas:
    """Deltas of one turn, next to each other, that leave as one frame."""

    __slots__ = ("first", "last", "last_delta", "texts", "tokens")

    def __init__(self, event: LogEvent, delta: TurnDelta) -> None:
        self.first = self.last = event
        self.last_delta = delta
        self.texts = [delta.text]
        self.tokens = delta.tokens

    def takes(self, event: LogEvent, delta: TurnDelta) -> bool:
        """True when the delta continues this one without a seam; it is then part of it."""
        last = self.last_delta
        if (delta.turn, delta.attempt, delta.channel) != (last.turn, last.attempt, last.channel):
            return False
        if delta.seq != last.seq + 1:
            return False
        self.last, self.last_delta = event, delta
        self.texts.append(delta.text)
        self.tokens += delta.tokens
        return True

    @property
    def frame(self) -> bytes:
        """One frame: `seq` of the first, `last_seq` and position of the last; a lone delta's own bytes."""
        if self.first is self.last:
            return self.first.frame
        body: dict[str, Any] = {
            **codec.parse(self.first.shown),
            "text": "".join(self.texts),
            "tokens": self.tokens,
            "last_seq": self.last_delta.seq,
        }
        return event_frame(self.first.conversation, self.last.position, codec.encode(body), self.first.ref)


class Outbox:
    """Frames that wait, in order for each subscription.

    Args:
        limit_bytes: the hard limit.
        is_backed_up: set by whoever writes: the socket doesn't take more for now.
    """

    __slots__ = ("_items", "_newest", "bytes", "is_backed_up", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.is_backed_up = False
        self.bytes = 0
        self._items: list[bytes | LogEvent | MergedDeltas] = []
        self._newest: dict[Hashable, MergedDeltas | None] = {}

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def is_over(self) -> bool:
        """True when the reader holds back more than the hard limit."""
        return self.bytes > self.limit_bytes

    def put(self, frame: bytes) -> None:
        """Append the bytes of an answer; deltas behind it are not merged with those before it."""
        self._items.append(frame)
        self._newest.clear()
        self.bytes += len(frame)

    def put_event(self, subscription: Hashable, event: LogEvent) -> None:
        """Append an event of a subscription; while backed up, merge it into the delta that is the newest here.

        What a socket takes at once isn't counted: its bytes are never held here.
        """
        if not self.is_backed_up:
            self._items.append(event)
            return
        record = event.record
        if not isinstance(record, TurnDelta):
            self._items.append(event)
            self._newest[subscription] = None
            self.bytes += len(event.frame)
            return
        newest = self._newest.get(subscription)
        if newest is not None and newest.takes(event, record):
            self.bytes += len(record.text.encode()) + _MERGED_OVERHEAD_BYTES
            return
        merged = MergedDeltas(event, record)
        self._items.append(merged)
        self._newest[subscription] = merged
        self.bytes += len(event.frame)

    def take(self) -> bytes:
        """All that waits, as bytes to write, none if nothing does; the outbox is empty then."""
        items = self._items
        if len(items) == 1 and not self._newest:
            only = items.pop()
            self.bytes = 0
            return only if isinstance(only, bytes) else only.frame
        self._items = []
        self._newest.clear()
        self.bytes = 0
        return b"".join([item if isinstance(item, bytes) else item.frame for item in items])

    def clear(self) -> None:
        """Forget what waits."""
        self._items.clear()
        self._newest.clear()
        self.bytes = 0
