"""What holds of a conversation by the records of `chat.conversations`, in whichever order they are met. Pure."""

from dataclasses import replace

from schemas.records import ConversationChanged


def newest(before: ConversationChanged | None, changed: ConversationChanged) -> ConversationChanged:
    """The record with the latest `at` holds, the one that was met last of equals; `retired` and `deleted` are for ever.

    Args:
        before: what held until `changed` was met; None = nothing was known.
    """
    if before is None:
        return changed
    latest = changed if before.at <= changed.at else before
    return replace(latest, retired=before.retired or changed.retired, deleted=before.deleted or changed.deleted)
