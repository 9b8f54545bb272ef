"""Positions that leave the node: those of `schemas.position`, sealed, so that one that comes back can be trusted.

A position holds the state of the rule, and a node starts a conversation for all its readers from the first one's: an
unsealed one would let a reader hide events from the others. The seal also keeps a position to its conversation.
"""

import hashlib
import hmac
from typing import Final

from schemas import position
from schemas.errors import ContractError
from schemas.fold import ConversationFold
from schemas.ids import ConversationId
from schemas.position import Position
from schemas.turns import LogAddress

_SEAL_BYTES: Final = 8  # 2**64 guesses, each a frame on a socket that is closed for bad ones
WHOLE: Final = ""  # scope of a reader of the whole conversation; a turn's reader has the turn as scope


class Seal:
    """Writes and reads sealed positions. All nodes share the secret, so any of them goes on from any position.

    Args:
        secret: the internal token's bytes.
    """

    def __init__(self, secret: bytes) -> None:
        key = hashlib.blake2b(secret, person=b"parley position"[:16]).digest()
        # Copied for each mark: the key goes in once.
        self._keyed = hashlib.blake2b(key=key, digest_size=_SEAL_BYTES)

    def write(
        self, log: LogAddress, offset: int, fold: ConversationFold, conversation: ConversationId, scope: str = WHOLE
    ) -> str:
        """The position's string, for this conversation and scope only."""
        text = position.write(log, offset, fold)
        return f"{text}~{self._mark(text, conversation, scope)}"

    def read(self, sealed: str, conversation: ConversationId, scope: str = WHOLE) -> Position | None:
        """The position in the string; None for anything that was not sealed for this conversation and scope."""
        text, _, mark = sealed.rpartition("~")
        if not hmac.compare_digest(mark.encode(), self._mark(text, conversation, scope).encode()):
            return None
        try:
            return position.read(text, conversation)
        except ContractError:
            return None  # sealed by a program whose positions have another form

    def _mark(self, text: str, conversation: ConversationId, scope: str) -> str:
        mark = self._keyed.copy()
        mark.update(f"{conversation}\0{scope}\0{text}".encode())
        return mark.hexdigest()
