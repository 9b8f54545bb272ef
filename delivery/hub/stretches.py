"""Where in a part of a lane each conversation speaks, as stretches of offsets: compact, and ready to be read. Pure."""

from array import array
from typing import Final

# Reading so many records of others takes about a millisecond, as one more request does. And while up to 128
# conversations speak alike in a lane, each of them is one stretch, so that a record costs next to no memory.
GAP: Final = 128


class Stretches:
    """The stretches of every conversation in `[since, end of the part)`, in order.

    Records at most GAP apart stand in one stretch, so it costs 16 bytes however many they are.

    Args:
        since: the first offset of the part; every record from there on must be told, in order.
    """

    __slots__ = ("_of", "entries", "since")

    def __init__(self, since: int) -> None:
        self.since = since
        self.entries = 0
        """Conversations and stretches, together: about 220 bytes a conversation, 16 to 18 each further stretch."""
        # First offset and the one behind the last, in turn.
        self._of: dict[bytes, array[int]] = {}

    def saw(self, conversation: bytes, offset: int) -> None:
        """A record of the conversation stands at this offset."""
        found = self._of.get(conversation)
        if found is None:
            self._of[conversation] = array("Q", (offset, offset + 1))
            self.entries += 1
        elif offset - found[-1] <= GAP:
            found[-1] = offset + 1
        else:
            found.extend((offset, offset + 1))
            self.entries += 1

    def within(self, conversation: bytes, start: int, stop: int) -> list[range]:
        """What of `[start, stop)` is to be read for the conversation's records."""
        found = self._of.get(conversation)
        if found is None:
            return []
        ends = zip(found[::2], found[1::2], strict=True)
        clipped = (range(max(first, start), min(behind, stop)) for first, behind in ends)
        return [each for each in clipped if each]
