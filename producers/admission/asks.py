"""What a client asks for, whichever dialect it speaks: the value between request validation and the log."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from schemas import codec
from schemas.ids import ConversationId, TurnId
from schemas.turns import LATEST, Message, OnBusy, Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A conversation to be made without a turn. `user`: whose it shall be; None = the principal's own user."""

    user: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    instructions: str | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the body means, as hex; never that of an `Ask`."""
        meaning = replace(self, metadata=dict(sorted(self.metadata.items())))
        return hashlib.sha256(b"conversation\0" + codec.encode(meaning)).hexdigest()


class Dialect(StrEnum):
    """In whose words the request came and the answer goes."""

    RESPONSES = "responses"
    CHAT = "chat"
    STREAM = "stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One message to be answered, checked, with nothing looked up yet.

    Args:
        user: whose conversation it is or shall be; None = the principal's own user.
        conversation: an existing one; None = a new one, or that of `previous`.
        previous: the turn that this one follows.
        parent: as in TurnRequest; `previous` when there is one.
        history: what the client itself gave before `text`.
        deadline_s: seconds until the turn ends as expired; None = the gateway's default.
        is_stream, includes_usage: how the answer is to be sent; they don't change it.
        is_background: answered at once with the turn's id.
    """

    dialect: Dialect
    text: str
    stored: bool
    user: str | None = None
    conversation: ConversationId | None = None
    previous: TurnId | None = None
    parent: str | None = LATEST
    model: str | None = None
    instructions: str | None = None
    history: tuple[Message, ...] = ()
    options: Options = field(default_factory=Options)
    metadata: Mapping[str, str] = field(default_factory=dict)
    on_busy: OnBusy = OnBusy.QUEUE
    deadline_s: float | None = None
    is_stream: bool = False
    includes_usage: bool = False
    is_background: bool = False

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the body means, as hex: two bodies under one idempotency key are told apart by it.

        How the answer is sent is no part of it: a resend may ask for the stream of what it first asked for whole.
        """
        meaning = replace(self, is_stream=False, includes_usage=False, metadata=dict(sorted(self.metadata.items())))
        return hashlib.sha256(codec.encode(meaning)).hexdigest()
