"""Ids: whoever holds one knows its conversation without asking a store (contract, "Words").

`conv_` + 32 hex. A turn is `resp_` + its conversation's 32 + 32 of its own; its items are `msg_` + those 64 + `u` or
`a`; a chat completion is `chatcmpl-` + those 64. The 32 are a UUIDv7, or a UUIDv8 derived from an idempotency key.
"""

import hashlib
import re
from typing import Final, NewType

from schemas.errors import ContractError

ConversationId = NewType("ConversationId", str)
TurnId = NewType("TurnId", str)
ItemId = NewType("ItemId", str)

_CONVERSATION: Final = re.compile(r"conv_[0-9a-f]{32}")
_TURN: Final = re.compile(r"resp_[0-9a-f]{64}")
_COMPLETION: Final = re.compile(r"chatcmpl-[0-9a-f]{64}")
_ITEM: Final = re.compile(r"msg_[0-9a-f]{64}[ua]")
_NAME: Final = re.compile(r"[a-z0-9-]{1,48}")

MAX_USER_CHARACTERS: Final = 128


def uuid7_hex(at_ms: int, entropy: bytes) -> str:
    """A UUIDv7 as 32 hex digits.

    Args:
        at_ms: milliseconds since 1970 UTC, 0 <= at_ms < 2**48.
        entropy: at least 10 random bytes.

    Source: RFC 9562 section 5.7.
    """
    return _stamped(at_ms.to_bytes(6, "big") + entropy[:10], version=7)


def uuid8_hex(digest: bytes) -> str:
    """A UUIDv8 as 32 hex digits over the first 16 bytes of a digest. Source: RFC 9562 section 5.8."""
    return _stamped(digest[:16], version=8)


def _stamped(raw: bytes, *, version: int) -> str:
    octets = bytearray(raw)
    octets[6] = (version << 4) | (octets[6] & 0x0F)
    octets[8] = 0x80 | (octets[8] & 0x3F)
    return octets.hex()


def keyed_hexes(tenant: str, idempotency_key: str) -> tuple[str, str]:
    """The turn's own 32 and a new conversation's 32 for an idempotency key: the same on any gateway, for ever."""
    digest = hashlib.sha256(f"{tenant}\0{idempotency_key}".encode()).digest()
    return uuid8_hex(digest[:16]), uuid8_hex(digest[16:])


def conversation_id(own_hex: str) -> ConversationId:
    """The conversation with these 32 hex digits."""
    return ConversationId(f"conv_{own_hex}")


def turn_id(conversation: ConversationId, own_hex: str) -> TurnId:
    """The turn with these 32 hex digits of its own, in that conversation."""
    return TurnId(f"resp_{conversation_hex(conversation)}{own_hex}")


def conversation_hex(conversation: ConversationId) -> str:
    """The 32 hex digits of a conversation."""
    return conversation[5:]


def conversation_of(turn: TurnId) -> ConversationId:
    """The conversation a turn belongs to."""
    return ConversationId(f"conv_{turn[5:37]}")


def completion_id(turn: TurnId) -> str:
    """The turn's id as a chat completion's."""
    return f"chatcmpl-{turn[5:]}"


def input_item_id(turn: TurnId) -> ItemId:
    """The item that holds the user's message."""
    return ItemId(f"msg_{turn[5:]}u")


def output_item_id(turn: TurnId) -> ItemId:
    """The item that holds the answer."""
    return ItemId(f"msg_{turn[5:]}a")


def turn_of_item(item: ItemId) -> TurnId:
    """The turn an item belongs to."""
    return TurnId(f"resp_{item[4:68]}")


def created_at_ms(own_hex: str) -> int | None:
    """Milliseconds since 1970 out of a UUIDv7; None when it is derived from a key and holds no time."""
    return int(own_hex[:12], 16) if own_hex[12] == "7" else None


def parse_conversation(text: str) -> ConversationId:
    """The text as a conversation's id. Raises ContractError when it isn't one."""
    return ConversationId(_matched(_CONVERSATION, text, "a conversation id: conv_ and 32 hex digits"))


def parse_turn(text: str) -> TurnId:
    """The text as a turn's id, also when it is spelled as a chat completion's. Raises ContractError."""
    if _COMPLETION.fullmatch(text):
        return TurnId(f"resp_{text[9:]}")
    return TurnId(_matched(_TURN, text, "a response id: resp_ and 64 hex digits"))


def parse_item(text: str) -> ItemId:
    """The text as an item's id. Raises ContractError when it isn't one."""
    return ItemId(_matched(_ITEM, text, "an item id: msg_, 64 hex digits and u or a"))


def parse_name(text: str) -> str:
    """The text as the name of a pool, tier, tenant or policy. Raises ContractError."""
    return _matched(_NAME, text, "a name: 1 to 48 of a-z, 0-9 and -")


def _matched(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise ContractError(f"{text[:100]!r} is not {what}")
    return text
