"""Positions: a place in a conversation log as an opaque string that clients store and give back.

It holds the log, the offset of the last record seen, and the fold's state there, so that any node goes on exactly.
Form, version 1: `1~<o|l|u>~<partition>~<offset>~<order>~<own 32 hex>.<attempt>.<seq>,...`; o own topic, l lane,
u lane of calls that are not stored.
"""

from dataclasses import dataclass
from typing import Final

from schemas import ids, topics
from schemas.errors import ContractError
from schemas.fold import ConversationFold, Cursor
from schemas.ids import ConversationId, TurnId
from schemas.turns import LogAddress

_VERSION: Final = "1"
_MAX_CHARACTERS: Final = 16 * 1024  # some 300 waiting turns; a longer one is nothing that we wrote
_LANES: Final = {"l": topics.LANES, "u": topics.UNSTORED_LANES}
_KINDS: Final = {topic: kind for kind, topic in _LANES.items()}


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a log: the record at `offset` and all before it were seen; `fold` is the state behind it."""

    log: LogAddress
    offset: int
    fold: ConversationFold


def write(log: LogAddress, offset: int, fold: ConversationFold) -> str:
    """The position's string."""
    kind = _KINDS.get(log.topic, "o")
    turns = ",".join([f"{turn[37:]}.{cursor.attempt}.{cursor.seq}" for turn, cursor in fold.open_turns.items()])
    return f"{_VERSION}~{kind}~{log.partition}~{offset}~{fold.order}~{turns}"


def read(text: str, conversation: ConversationId) -> Position:
    """The position in this string, for a log of that conversation. Raises ContractError: nothing that we wrote."""
    parts = text.split("~") if len(text) <= _MAX_CHARACTERS else []
    try:
        version, kind, partition, offset, order, turns = parts
        if version != _VERSION:
            raise ValueError
        topic = topics.own_topic(conversation).name if kind == "o" else _LANES[kind]
        fold = ConversationFold(int(order), dict(_open_turn(item, conversation) for item in turns.split(",") if item))
        return Position(LogAddress(topic, int(partition)), int(offset), fold)
    except (ValueError, KeyError):
        raise ContractError("not a position of this conversation: give back one that a frame carried") from None


def _open_turn(item: str, conversation: ConversationId) -> tuple[TurnId, Cursor]:
    own_hex, attempt, seq = item.split(".")
    return ids.parse_turn(ids.turn_id(conversation, own_hex)), Cursor(int(attempt), int(seq))
