"""Released pieces to `turn.delta` records of one attempt, on time: the shell around the coalescer."""

import asyncio
from collections.abc import Callable
from typing import Final

from inference_consumers.generating.coalescer import Coalescer, Delta
from inference_consumers.publishing.attempt_log import AttemptLog
from schemas import codec
from schemas.records import TurnDelta

# While this many deltas of a turn are unacknowledged, the log is slower than the engine: merging more helps both.
_MAX_UNACKED: Final = 8
# TurnCompleted has the whole answer and 448 KiB beside it, and is to stay below a record's 1 000 000 bytes.
_MAX_SHOWN_BYTES: Final = 512 * 1024


def spelled_bytes(text: str) -> int:
    """How much of a record the text takes: JSON spells a line's end in two bytes."""
    return len(codec.encode(text)) - 2


def is_too_long(shown_bytes: int) -> bool:
    """Whether an answer of so many spelled bytes must end here."""
    return shown_bytes >= _MAX_SHOWN_BYTES


class DeltaStream:
    """One attempt's deltas.

    Args:
        log: the attempt's way into its log.
        write: a delta as a record with the given `seq`.
        seq: of the first delta.
        merge_ms: see Coalescer.
        shown_bytes: of what was shown before, see `spelled_bytes`.
    """

    def __init__(
        self,
        log: AttemptLog,
        write: Callable[[int, Delta], TurnDelta],
        *,
        seq: int,
        merge_ms: float,
        shown_bytes: int = 0,
    ) -> None:
        self._log = log
        self._write = write
        self._coalescer = Coalescer(merge_ms)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self.seq = seq
        self.texts: list[str] = []
        self.token_ids: list[int] = []
        self._shown_bytes = shown_bytes

    @property
    def is_full(self) -> bool:
        """Nothing more fits behind what was shown."""
        return is_too_long(self._shown_bytes)

    def push(self, text: str, token_ids: tuple[int, ...]) -> None:
        """Show a piece."""
        self.texts.append(text)
        self.token_ids.extend(token_ids)
        self._shown_bytes += spelled_bytes(text)
        self._send(self._coalescer.push(text, token_ids, self._now_ms()))
        self.pump()

    def pump(self) -> None:
        """Send what is due; called by itself, and when an acknowledgement made room."""
        due_ms = self._coalescer.due_ms
        if due_ms is None or self._is_closed or self._log.unacked >= _MAX_UNACKED:
            return
        now_ms = self._now_ms()
        if due_ms <= now_ms:
            self._send(self._coalescer.take(now_ms))
        elif self._timer is None:
            self._timer = self._loop.call_at(due_ms / 1000, self._on_timer)

    def flush(self) -> None:
        """Send all that is held."""
        self._stop_timer()
        self._send(self._coalescer.take(self._now_ms()))

    def close(self) -> None:
        """Send nothing more by itself, whatever is acknowledged yet."""
        self._is_closed = True
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self.pump()

    def _send(self, delta: Delta | None) -> None:
        if delta is not None:
            self._log.put(self._write(self.seq, delta))
            self.seq += 1

    def _now_ms(self) -> float:
        return self._loop.time() * 1000
