"""A record of a conversation log on its way to readers: decoded once, its frame's bytes made once.

Nearly all records are deltas: they are decoded for the rule alone, and their bytes go into the frame as they came.
"""

from collections.abc import Mapping
from typing import Final

from delivery.protocol.framing import text_frame
from schemas import codec
from schemas.errors import ContractError
from schemas.ids import ConversationId
from schemas.records import (
    MovedLogged,
    Record,
    ResetLogged,
    TurnAccepted,
    TurnDelta,
    TurnEnded,
    TurnQueued,
    TurnStarted,
)

_LOGGED: Final[Mapping[str, type[Record]]] = {
    str(kind.__dataclass_fields__["type"].default): kind
    for kind in (TurnAccepted, TurnQueued, TurnStarted, TurnDelta, TurnEnded, ResetLogged, MovedLogged)
}


# How `codec.encode` writes a delta: its head, the one field that is not for readers, and the one behind it.
_DELTA_HEAD: Final = b'{"type":"turn.delta","version":1,'
_TOKEN_IDS: Final = b"token_ids"
_BEFORE_IDS: Final = b',"token_ids":['
_BEHIND_IDS: Final = b'],"tokens":'


class Logged:
    """One record as it stands in the log.

    Args:
        offset: its place.
        record: checked, for the rule.
        shown: its JSON bytes for readers: fields that this program doesn't know are kept.
    """

    __slots__ = ("offset", "record", "shown")

    def __init__(self, offset: int, record: Record, shown: bytes) -> None:
        self.offset = offset
        self.record = record
        self.shown = shown


def read(offset: int, value: bytes) -> Logged | None:
    """The record in these bytes; None for a type or version that readers ignore.

    Raises:
        ContractError: not a record.
    """
    if value.startswith(_DELTA_HEAD) and value.count(_TOKEN_IDS) == 1:
        head, _, behind = value.partition(_BEFORE_IDS)
        ids, found, tokens = behind.partition(_BEHIND_IDS)
        if found and b"]" not in ids:  # else another field's end was met
            return Logged(offset, codec.decode_as(value, TurnDelta), b'%b,"tokens":%b' % (head, tokens))
    body = codec.parse(value)
    if not isinstance(body, dict):
        raise ContractError("expected a JSON object", place="$")
    kind = _LOGGED.get(body.get("type", ""))
    if kind is None or body.get("version") != 1:
        return None
    record = codec.convert(body, kind)
    body.pop("token_ids", None)
    return Logged(offset, record, codec.encode(body))


class LogEvent:
    """One taken record for readers, with the position behind it.

    Args:
        ref: None in what all readers share; the gateway's subscriptions to single turns name theirs.
    """

    __slots__ = ("conversation", "frame", "offset", "position", "record", "ref", "shown")

    def __init__(
        self, logged: Logged, conversation: ConversationId, position: str, ref: str | int | None = None
    ) -> None:
        self.offset = logged.offset
        self.record = logged.record
        self.shown = logged.shown
        self.conversation = conversation
        self.position = position
        self.ref = ref
        self.frame = event_frame(conversation, position, self.shown, ref)
        """The frame's bytes, the same object for every reader."""


def event_frame(conversation: ConversationId, position: str, shown: bytes, ref: str | int | None = None) -> bytes:
    """The bytes of an `event` frame around an event's own bytes."""
    # Neither an id nor a position holds what JSON would escape.
    head = f'{{"type":"event","conversation":"{conversation}","position":"{position}","event":'.encode()
    tail = b"}" if ref is None else b',"ref":%b}' % codec.encode(ref)
    return text_frame(b"%b%b%b" % (head, shown, tail))
