"""One followed turn in memory: what delivery sent of it, once each, and who waits for more. No I/O."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from producers.relay.port import Delivered
from producers.relay.progress import Progress
from schemas import codec
from schemas.errors import ParleyError
from schemas.ids import TurnId
from schemas.records import TurnDelta
from schemas.turns import LogAddress


class Channel:
    """The events of a turn, shared by all who follow it here; bounded by the answer's own size.

    Args:
        position: of the last event taken, for going on behind it on another connection.
    """

    def __init__(self, turn: TurnId, log: LogAddress) -> None:
        self.turn = turn
        self.log = log
        self.position: str | None = None
        self.followers = 0
        self.confirmed = asyncio.Event()
        self._progress = Progress(turn)
        self._events: list[Delivered] = []
        self._failure: ParleyError | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    def take(self, event: dict[str, Any], position: str) -> None:
        """Keep an event unless it repeats what is known.

        Raises:
            Gapped: events are missing before it: the turn is to be read from its beginning.
            ContractError: it isn't a record.
        """
        kind = codec.RECORDS.get(str(event.get("type")))
        if kind is None:
            return
        record = codec.convert(event, kind)
        last_seq = event.get("last_seq") if isinstance(record, TurnDelta) else None
        known = self._progress.next_seq
        if self._progress.take_delivered(record, last_seq):
            self._events.append((_cut(record, known, self._progress), last_seq))
        self.position = position
        self._wake()

    def fail(self, failure: ParleyError) -> None:
        """Nothing more will come."""
        self._failure = failure
        self.confirmed.set()
        self._wake()

    def check(self) -> None:
        """Raise what the channel has failed with, if it has."""
        if self._failure is not None:
            # One for each reader: a raised error collects the traceback of who raised it.
            raise type(self._failure)(str(self._failure))

    async def behind(self, index: int, within_s: float) -> Sequence[Delivered]:
        """The events from `index` on; waits for one, and is empty when none came in time."""
        if index >= len(self._events):
            self.check()
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await asyncio.wait_for(waiter, within_s)
            except TimeoutError:
                return ()
            finally:
                self._waiting.discard(waiter)
        if index >= len(self._events):
            self.check()
        return self._events[index:]

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


def _cut(record: Any, known: int, progress: Progress) -> Any:
    """A delta without what was known before it."""
    if not isinstance(record, TurnDelta) or record.seq == known:
        return record
    piece = progress.pieces[-1]
    return TurnDelta(
        id=record.id,
        at=record.at,
        tenant=record.tenant,
        conversation=record.conversation,
        turn=record.turn,
        attempt=record.attempt,
        seq=piece.seq,
        text=piece.text,
        tokens=piece.tokens,
        channel=record.channel,
    )


class ChannelReader:
    """One follower of a channel.

    Args:
        on_close: called once.
    """

    def __init__(self, channel: Channel, on_close: Callable[[Channel], None]) -> None:
        self._channel = channel
        self._index = 0
        self._on_close: Callable[[Channel], None] | None = on_close
        channel.followers += 1

    async def next(self, within_s: float) -> Sequence[Delivered]:
        """What came since the last call; see `Following`."""
        events = await self._channel.behind(self._index, within_s)
        self._index += len(events)
        return events

    def close(self) -> None:
        """Read no more. Idempotent."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            self._channel.followers -= 1
            on_close(self._channel)
