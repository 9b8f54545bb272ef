"""How a long load is shown: a bar that redraws on a terminal, a plain line now and then elsewhere."""

import sys
import time
from typing import Final, TextIO

WIDTH: Final = 30
TERMINAL_EVERY_S: Final = 0.1
PLAIN_EVERY_S: Final = 5.0


def bar(what: str, done_bytes: int, total_bytes: int) -> str:
    """Return one line: `Kafka  [#####-----]  21.4 of 43.0 MB`."""
    share = done_bytes / total_bytes if total_bytes else 1.0
    filled = int(WIDTH * min(share, 1.0))
    return f"{what} [{'#' * filled}{'-' * (WIDTH - filled)}] {done_bytes / 1e6:.1f} of {total_bytes / 1e6:.1f} MB"


class Progress:
    """Shows how far a load is. Give it what was added; `finish` ends the line."""

    def __init__(self, what: str, total_bytes: int, stream: TextIO | None = None) -> None:
        self._what = what
        self._total = total_bytes
        self._stream = stream if stream is not None else sys.stderr
        self._is_terminal = self._stream.isatty()
        self._done = 0
        self._next_at = 0.0 if self._is_terminal else time.monotonic() + PLAIN_EVERY_S
        if not self._is_terminal:
            self._say(f"{what}: loading {total_bytes / 1e6:.1f} MB\n")

    def add(self, count: int) -> None:
        """Count bytes that have arrived; a negative number takes back what must be loaded again."""
        self._done += count
        now = time.monotonic()
        if now >= self._next_at:
            self._next_at = now + (TERMINAL_EVERY_S if self._is_terminal else PLAIN_EVERY_S)
            line = bar(self._what, self._done, self._total)
            self._say(f"\r{line}" if self._is_terminal else f"{line}\n")

    def finish(self) -> None:
        """Show the last state; nothing is shown after it."""
        line = bar(self._what, self._done, self._total)
        self._say(f"\r{line}\n" if self._is_terminal else f"{line}\n")

    def _say(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
