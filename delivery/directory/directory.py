"""What every node knows of every conversation: whose it is and where its log is. Pure; the follower feeds it."""

import sys
from dataclasses import dataclass

from schemas import instants
from schemas.ids import ConversationId
from schemas.records import ConversationChanged


@dataclass(frozen=True, slots=True)
class Known:
    """One conversation. Metadata isn't kept: there may be millions."""

    tenant: str
    user: str
    created_at_ms: int
    retired: bool
    deleted: bool


class Directory:
    """The newest record of each conversation."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def put(self, changed: ConversationChanged) -> None:
        """The conversation is as the record says; once retired or deleted, for ever."""
        if changed.conversation is None or changed.tenant is None:
            return
        before = self._known.get(changed.conversation)
        self._known[changed.conversation] = Known(
            # Tenants and users are few beside their conversations: one text each.
            sys.intern(changed.tenant),
            sys.intern(changed.user),
            instants.to_ms(changed.created_at),
            changed.retired or (before is not None and before.retired),
            changed.deleted or (before is not None and before.deleted),
        )

    def drop(self, conversation: str) -> None:
        """The conversation is forgotten. Idempotent."""
        self._known.pop(conversation, None)

    def find(self, conversation: ConversationId) -> Known | None:
        """What is known; None for a stranger, which may only be new, and for a deleted one."""
        known = self._known.get(conversation)
        return None if known is None or known.deleted else known

    def has_met(self, conversation: ConversationId) -> bool:
        """True also for a deleted one: nothing newer needs to be looked for."""
        return conversation in self._known
