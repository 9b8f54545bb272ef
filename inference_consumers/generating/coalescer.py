"""Released pieces to deltas: the first at once, then merged, never larger than a record may be.

Pure. A piece that comes later than `merge_ms` after the last delta goes out at once: a slow stream waits for nothing, a
fast one makes at most 1000 / merge_ms deltas a second.
"""

from dataclasses import dataclass, field
from typing import Final

# A record is to stay below 256 KiB. At worst JSON spells a character in 6 bytes and an id in 17: 96 KiB + 136 KiB.
MAX_DELTA_CHARACTERS: Final = 16_384
MAX_DELTA_TOKENS: Final = 8_192


@dataclass(frozen=True, slots=True)
class Delta:
    """What one `turn.delta` adds."""

    text: str
    token_ids: tuple[int, ...]


@dataclass(slots=True)
class Coalescer:
    """The pieces of one attempt that were released and not sent yet.

    Args:
        merge_ms: least time between two deltas, 0 = send each piece.
    """

    merge_ms: float
    _texts: list[str] = field(default_factory=list)
    _token_ids: list[int] = field(default_factory=list)
    _characters: int = 0
    _has_pieces: bool = False
    _sent_ms: float | None = None

    def push(self, text: str, token_ids: tuple[int, ...], now_ms: float) -> Delta | None:
        """Take a piece in; a delta comes out when the piece would make it too large. It is to be sent at once."""
        is_too_much = (
            self._characters + len(text) > MAX_DELTA_CHARACTERS
            or len(self._token_ids) + len(token_ids) > MAX_DELTA_TOKENS
        )
        full = self.take(now_ms) if is_too_much else None
        self._texts.append(text)
        self._token_ids.extend(token_ids)
        self._characters += len(text)
        self._has_pieces = True
        return full

    @property
    def due_ms(self) -> float | None:
        """When what is held must be sent, on the clock of `push`; None when nothing is held."""
        if not self._has_pieces:
            return None
        return float("-inf") if self._sent_ms is None else self._sent_ms + self.merge_ms

    def take(self, now_ms: float) -> Delta | None:
        """What is held, as one delta; None when nothing is."""
        if not self._has_pieces:
            return None
        delta = Delta("".join(self._texts), tuple(self._token_ids))
        self._texts, self._token_ids, self._characters, self._has_pieces = [], [], 0, False
        self._sent_ms = now_ms
        return delta
