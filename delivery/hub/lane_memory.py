"""Where in a lane a conversation was first heard of lately, so that nobody scans a lane for one that isn't there.

Two generations of first offsets: the younger one fills, the older one is dropped when the younger is full of time.
"""

from schemas.ids import ConversationId


class LaneMemory:
    """First offsets by conversation, complete from `since` on.

    Args:
        since: the first offset that this node hands on from the lane.
        generation_s: how long one generation is; what is remembered is one to two of them.
        now_s: monotonic seconds.
    """

    __slots__ = ("_generation_s", "_older", "_older_since", "_turned_at_s", "_younger", "_younger_since")

    def __init__(self, since: int, generation_s: float, now_s: float) -> None:
        self._generation_s = generation_s
        self._turned_at_s = now_s
        self._older: dict[bytes, int] = {}
        self._younger: dict[bytes, int] = {}
        self._older_since = self._younger_since = since

    @property
    def since(self) -> int:
        """Every record of the lane from this offset on is remembered."""
        return self._older_since

    def saw(self, conversation: bytes, offset: int) -> None:
        """A record of the conversation stands at this offset."""
        if conversation not in self._younger:
            self._younger[conversation] = offset

    def turn(self, next_offset: int, now_s: float) -> None:
        """Begin a new generation when the present one is old enough; called once a batch."""
        if now_s - self._turned_at_s < self._generation_s:
            return
        self._turned_at_s = now_s
        self._older, self._younger = self._younger, {}
        self._older_since, self._younger_since = self._younger_since, next_offset

    def first(self, conversation: ConversationId, start: int) -> int | None:
        """Where to read from instead of `start`; None = nothing of the conversation stands at `start` or behind it.

        What lies before `since` isn't known: such a start is returned as it is.
        """
        if start < self.since:
            return start
        key = conversation.encode()
        found = self._older.get(key, self._younger.get(key))
        return None if found is None else max(found, start)
