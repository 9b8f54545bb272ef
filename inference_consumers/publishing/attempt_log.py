"""The appends of one attempt: in order, and none behind the first that failed.

A failed append may have landed or not. Whatever was enqueued behind it is dropped by every reader, since its `seq`
doesn't follow; so the attempt is lost and the turn must be claimed anew, if at all.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from inference_consumers.publishing.port import TurnLog
from infra.runtime.kafka import RecordTooLarge
from schemas.errors import DependencyError, KafkaUnavailable
from schemas.records import Record
from schemas.turns import LogAddress


class AttemptLog:
    """One attempt's way into its conversation log.

    Args:
        log: where records go.
        address: of the conversation log.
        on_lost: called once, at the first append that failed.
        on_acked: called after each acknowledgement.
        trace: the turn's `traceparent`.
    """

    def __init__(
        self,
        log: TurnLog,
        address: LogAddress,
        *,
        on_lost: Callable[[], None] = lambda: None,
        on_acked: Callable[[], None] = lambda: None,
        trace: str | None = None,
    ) -> None:
        self._log = log
        self._address = address
        self._on_lost = on_lost
        self._on_acked = on_acked
        self._trace = trace
        self._queue: deque[Record] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._settled.set()
        self._last_offset = -1
        self._is_closed = False
        self._failure: BaseException | None = None
        self.unacked = 0
        self.is_lost = False

    def put(self, record: Record) -> None:
        """Append the record behind all that was put before; nothing happens once the attempt is lost."""
        if self.is_lost or self._is_closed:
            return
        self.unacked += 1
        self._settled.clear()
        self._queue.append(record)
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())

    async def settled(self) -> int:
        """Wait until all that was put is acknowledged and return the last one's offset, -1 for nothing.

        Raises:
            RecordTooLarge: the attempt is lost, and any other would be.
            KafkaUnavailable: the attempt is lost.
        """
        await self._settled.wait()
        if isinstance(self._failure, RecordTooLarge):
            raise self._failure
        if self.is_lost:
            raise KafkaUnavailable("an append of this attempt failed: it may be in the log or not")
        return self._last_offset

    async def close(self) -> None:
        """Send nothing more. What was enqueued at the client may still land. Idempotent."""
        self._is_closed = True
        self._queue.clear()
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait({self._sender})

    async def _send(self) -> None:
        while self._queue and not self.is_lost:
            try:
                ack = await self._log.send(self._address, self._queue.popleft(), trace=self._trace)
            except DependencyError as error:
                self._lose(error)
            else:
                ack.add_done_callback(self._acked)
        self._sender = None

    def _acked(self, future: "asyncio.Future[int]") -> None:
        if future.cancelled() or future.exception() is not None:
            self._lose(None if future.cancelled() else future.exception())
            return
        self._last_offset = max(self._last_offset, future.result())
        self.unacked -= 1
        if self.unacked == 0:
            self._settled.set()
        self._on_acked()

    def _lose(self, failure: BaseException | None) -> None:
        if not self.is_lost:
            self.is_lost, self._failure = True, failure
            self._queue.clear()
            self._settled.set()
            self._on_lost()
