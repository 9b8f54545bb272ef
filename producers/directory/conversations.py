"""What is known of every conversation apart from its turns: `chat.conversations` in memory. Pure."""

from collections.abc import Iterable
from typing import Final

from schemas.directory import newest
from schemas.ids import ConversationId
from schemas.records import ConversationChanged


class Conversations:
    """The newest ConversationChanged of each conversation, found by id and by whose it is."""

    def __init__(self) -> None:
        self._known: Final[dict[ConversationId, ConversationChanged]] = {}
        self._of_user: Final[dict[str, dict[str, set[ConversationId]]]] = {}
        self._active: Final[dict[ConversationId, str]] = {}

    def get(self, conversation: ConversationId) -> ConversationChanged | None:
        """The conversation; also when it was deleted."""
        return self._known.get(conversation)

    def put(self, changed: ConversationChanged) -> None:
        """Keep the record unless a newer one is known: this gateway's own come here before the topic brings them.

        A conversation that was retired or deleted once is so for ever, whichever record says it.
        """
        if changed.conversation is None or changed.tenant is None:
            return
        holds = newest(self._known.get(changed.conversation), changed)
        self._known[changed.conversation] = holds
        users = self._of_user.setdefault(changed.tenant, {})
        if holds.deleted:
            self._active.pop(changed.conversation, None)
            users.get(holds.user, set()).discard(changed.conversation)
        else:
            users.setdefault(holds.user, set()).add(changed.conversation)

    def touch(self, conversation: ConversationId, at: str) -> None:
        """A turn of the conversation was accepted or has ended here; the store learns of it later."""
        known = self._known.get(conversation)
        if known is not None and not known.deleted:
            self._active[conversation] = max(at, self._active.get(conversation, ""))

    def active_at(self, known: ConversationChanged, stored: str | None) -> str:
        """The conversation's last activity: what the store says, or what is known here if that is later."""
        here = self._active.get(known.conversation, "") if known.conversation is not None else ""
        return max(known.created_at, stored or "", here)

    def users(self, tenant: str) -> Iterable[str]:
        """The tenant's users with a conversation."""
        return tuple(user for user, owned in self._of_user.get(tenant, {}).items() if owned)

    def owned(self, tenant: str, user: str | None) -> list[ConversationChanged]:
        """The live conversations of a user, or of the whole tenant."""
        users = self._of_user.get(tenant, {})
        names = users.keys() if user is None else (user,)
        return [self._known[each] for name in names for each in users.get(name, ())]
