"""What a record of `chat.turns` or `chat.conversations` asks of the store. Pure."""

import base64
from typing import Final

from schemas import codec, ids
from schemas.codec import UnknownRecord
from schemas.errors import ContractError
from schemas.ids import ConversationId
from schemas.records import (
    ConversationChanged,
    ConversationDeleted,
    ConversationReset,
    DeadLettered,
    TurnCompleted,
)
from schemas.turns import Source

ROLE: Final = "persistence"
MAX_DEAD_BYTES: Final = 512 * 1024

Stored = TurnCompleted | ConversationReset | ConversationDeleted | ConversationChanged
"""The records that leave something in the store."""


def to_store(value: bytes | None) -> Stored | None:
    """The record, if it leaves anything in the store; None for a null and for what isn't ours to read.

    Raises:
        ContractError: it ought to be readable and isn't.
    """
    if value is None:
        return None
    try:
        record = codec.decode(value)
    except UnknownRecord:
        return None
    if not isinstance(record, Stored):
        return None
    conversation = ids.parse_conversation(record.conversation or "")
    if record.tenant is None:
        raise ContractError("expected a tenant", place="$.tenant")
    if isinstance(record, TurnCompleted):
        if ids.conversation_of(ids.parse_turn(record.turn or "")) != conversation:
            raise ContractError("the turn is not of this conversation", place="$.turn")
        return record if record.stored else None
    if isinstance(record, ConversationReset) and record.epoch is None:
        raise ContractError("expected the epoch that begins here", place="$.epoch")
    return record


def conversation_of(record: Stored) -> ConversationId:
    """The conversation whose rows the record touches."""
    return ids.parse_conversation(record.conversation or "")


def dead_letter(value: bytes | None, source: Source, at: str, error: ContractError) -> DeadLettered:
    """The record's bytes for a person, with where they lie and what is wrong."""
    return DeadLettered(
        id=f"{ROLE}.{source.topic}.{source.partition}.{source.offset}",
        at=at,
        source=source,
        role=ROLE,
        error=str(error),
        place=error.place,
        value=base64.b64encode((value or b"")[:MAX_DEAD_BYTES]).decode(),
    )
