"""Pieces of an answer through the screen. They leave whole, so deltas are cut between tokens.

Pure. Text that isn't cleared never leaves this object.
"""

from collections import deque
from dataclasses import dataclass, field

from schemas.turns import Verdict
from stream_processors.moderation.screen import Screen, Screened


@dataclass(frozen=True, slots=True)
class Released:
    """A piece that may be shown."""

    text: str
    token_ids: tuple[int, ...]


@dataclass(slots=True)
class Releaser:
    """The gate between an engine and the log, for one run of the engine.

    Args:
        screen: stands behind what was released before.
        stopped_by: the verdict that ended the answer; None while there is none.
    """

    screen: Screen
    stopped_by: Verdict | None = None
    _held: deque[tuple[int, Released]] = field(default_factory=deque)  # with the place where each ends
    _read: int = 0
    _cleared: int = 0

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """All that the screen has to tell of this answer."""
        return self.screen.flags if self.stopped_by is None else (*self.screen.flags, self.stopped_by)

    @property
    def held_tokens(self) -> int:
        """Tokens that were made and not released."""
        return sum(len(piece.token_ids) for _end, piece in self._held)

    def push(self, text: str, token_ids: tuple[int, ...]) -> list[Released]:
        """Take the engine's next piece in and return what may be shown now."""
        self._read += len(text)
        self._held.append((self._read, Released(text, token_ids)))
        return self._let_out(self.screen.feed(text))

    def finish(self) -> list[Released]:
        """The engine has ended: the rest, unless the screen stops it."""
        return self._let_out(self.screen.finish())

    def _let_out(self, screened: Screened) -> list[Released]:
        self._cleared += len(screened.released)
        self.stopped_by = screened.verdict
        out: list[Released] = []
        while self._held and self._held[0][0] <= self._cleared:
            out.append(self._held.popleft()[1])
        return out
