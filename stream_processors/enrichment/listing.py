"""The conversations that have a topic of their own, as `chat.conversations` tells: a fold in log order. Pure.

A conversation is kept here until its last record in the log says that it is retired or deleted, and all that holds
(`schemas.directory`): compaction then loses nothing.
"""

from collections.abc import Iterator
from dataclasses import replace

from schemas.directory import newest
from schemas.ids import ConversationId
from schemas.records import ConversationChanged


class Listing:
    """See the module."""

    def __init__(self) -> None:
        self._listed: dict[ConversationId, tuple[int, ConversationChanged]] = {}

    def put(self, partition: int, changed: ConversationChanged) -> None:
        """The next record of the partition."""
        if changed.conversation is None:
            return
        holds = newest(self.find(changed.conversation), changed)
        if (holds.retired or holds.deleted) and replace(holds, id=changed.id) == changed:
            self._listed.pop(changed.conversation, None)
        else:
            self._listed[changed.conversation] = (partition, holds)

    def find(self, conversation: ConversationId) -> ConversationChanged | None:
        """What holds of the conversation; None when the log says already that it has no topic of its own."""
        found = self._listed.get(conversation)
        return None if found is None else found[1]

    def __iter__(self) -> Iterator[tuple[int, ConversationChanged]]:
        """All of them, with their partition."""
        return iter(tuple(self._listed.values()))


def retired(listed: ConversationChanged, *, is_deleted: bool = False) -> ConversationChanged:
    """The record that settles it; it bears the time of what it repeats, so it outranks no change made meanwhile."""
    return replace(listed, id=f"{listed.conversation}.retired", retired=True, deleted=listed.deleted or is_deleted)
