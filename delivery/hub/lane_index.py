"""Where in a lane each conversation spoke lately, so that a reader's past costs its own records, not everybody's. Pure.

The tail keeps it up from where it began; what was said before is read back in the background and put in front.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from delivery.hub.recent_records import Held, RecentRecords
from delivery.hub.stretches import Stretches
from schemas.ids import ConversationId

# What is forgotten at once: a quarter of the window, so that an index remembers one window to one and a quarter.
_GENERATIONS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBounds:
    """How much one lane's index may remember.

    Args:
        window_s: seconds.
        entries: conversations and stretches.
        recent_bytes: of records that are held whole.
    """

    window_s: float
    entries: int
    recent_bytes: int


@dataclass(frozen=True, slots=True)
class Reading:
    """How a conversation's records are come by: read `stretches`, leaving out others' records, then take `held`."""

    stretches: tuple[range, ...]
    held: tuple[Held, ...]

    @property
    def records(self) -> int:
        """Records to read, those of others among them."""
        return sum(map(len, self.stretches))


class LaneIndex:
    """Complete from `since` up to what it was told: a conversation without a stretch there has no record there.

    The lane may be longer: a reader can come with a place that another node's tail has got to, and this one's has not.

    Args:
        since: the first offset that this node hands on from the lane.
        now_s: monotonic seconds.
    """

    __slots__ = ("_began_at_s", "_bounds", "_generations", "_recent", "_youngest", "told")

    def __init__(self, since: int, bounds: IndexBounds, now_s: float) -> None:
        self._bounds = bounds
        self._youngest = Stretches(since)
        # When each generation began; those that were read back ended where the tail's began, which is what counts.
        self._generations = deque([self._youngest])
        self._began_at_s = deque([now_s])
        self._recent = RecentRecords(since, bounds.recent_bytes)
        self.told = since
        """The offset behind all that was told."""

    @property
    def since(self) -> int:
        """Every record from this offset on that the tail has handed on is known."""
        return self._generations[0].since

    @property
    def recent_since(self) -> int:
        """Every record from this offset on that the tail has handed on is held whole."""
        return self._recent.since

    @property
    def entries(self) -> int:
        """How much is remembered."""
        return sum(each.entries for each in self._generations)

    def saw(self, conversation: bytes, offset: int, value: bytes) -> None:
        """The next record of the lane."""
        self._youngest.saw(conversation, offset)
        self._recent.saw(conversation, offset, value)

    def forget(self, next_offset: int, now_s: float) -> None:
        """Everything before `next_offset` was told: let go of what is too old or too much. Called once a batch."""
        bounds = self._bounds
        self.told = next_offset
        is_old = now_s - self._began_at_s[-1] >= bounds.window_s / _GENERATIONS
        if is_old or self._youngest.entries * _GENERATIONS >= bounds.entries:
            self._youngest = Stretches(next_offset)
            self._generations.append(self._youngest)
            self._began_at_s.append(now_s)
        while len(self._generations) > 1 and (
            now_s - self._began_at_s[1] >= bounds.window_s or self.entries > bounds.entries
        ):
            self._generations.popleft()
            self._began_at_s.popleft()

    def put_before(self, earlier: "LaneIndex") -> None:
        """Take over what was read back; left out where it doesn't reach up to what is known."""
        if earlier.since < self.since == earlier.told:
            generations = earlier._generations  # noqa: SLF001 - another of this very class
            self._began_at_s.extendleft([self._began_at_s[0]] * len(generations))
            self._generations.extendleft(reversed(generations))

    def reading(self, conversation: ConversationId, start: int, stop: int) -> Reading:
        """How to come by the conversation's records of `[start, stop)`.

        What lies before `since`, and what the tail has not handed on yet, is read whole.
        """
        key = conversation.encode()
        # What is held comes last: it is of no use where something behind it has to be read.
        unheld = stop if stop > self.told else min(stop, max(start, self.recent_since))
        stretches = [range(start, min(unheld, self.since))] if start < min(unheld, self.since) else []
        for generation in self._generations:
            stretches += generation.within(key, start, unheld)
        if max(start, self.told) < stop:
            stretches.append(range(max(start, self.told), stop))
        return Reading(tuple(stretches), tuple(self._recent.within(key, unheld, stop)))
