"""A record of a conversation log on its way to readers: decoded once, its frame's bytes made once."""

from collections.abc import Mapping
from typing import Any, Final

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


class Logged:
    """One record as it stands in the log.

    Args:
        offset: its place.
        record: checked, for the rule.
        body: its plain values, for readers: fields that this program doesn't know are kept.
    """

    __slots__ = ("body", "offset", "record")

    def __init__(self, offset: int, record: Record, body: dict[str, Any]) -> None:
        self.offset = offset
        self.record = record
        self.body = body


def read(offset: int, value: bytes) -> Logged | None:
    """The record in these bytes; None for a type or version that readers ignore.

    Raises:
        ContractError: not a record.
    """
    body = codec.parse(value)
    if not isinstance(body, dict):
        raise ContractError("expected a JSON object", place="$")
    kind = _LOGGED.get(body.get("type", ""))
    if kind is None or body.get("version") != 1:
        return None
    record = codec.convert(body, kind)
    body.pop("token_ids", None)
    return Logged(offset, record, body)


class LogEvent:
    """One taken record for readers, with the position behind it.

    Args:
        ref: None in what all readers share; the gateway's subscriptions to single turns name theirs.
    """

    __slots__ = ("_frame", "body", "conversation", "offset", "position", "record", "ref")

    def __init__(
        self, logged: Logged, conversation: ConversationId, position: str, ref: str | int | None = None
    ) -> None:
        self.offset = logged.offset
        self.record = logged.record
        self.body = logged.body
        self.conversation = conversation
        self.position = position
        self.ref = ref
        self._frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """The frame's bytes: made at the first use, the same object for every reader."""
        if self._frame is None:
            self._frame = event_frame(self.conversation, self.position, self.body, self.ref)
        return self._frame


def event_frame(
    conversation: ConversationId, position: str, body: Mapping[str, Any], ref: str | int | None = None
) -> bytes:
    """The bytes of an `event` frame."""
    values: dict[str, Any] = {"type": "event", "conversation": conversation, "position": position, "event": body}
    if ref is not None:
        values["ref"] = ref
    return text_frame(codec.encode(values))
