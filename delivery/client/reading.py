"""One conversation being read: what came and waits to be taken, in order, each once. No socket."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Self

from delivery.client.thread import Fate, Thread, from_history
from schemas.errors import ParleyError
from schemas.frames import Event, Subscribed

# Events that may wait for their taker, some megabytes; behind them the conversation is left and resumed later.
MOST_WAITING: Final = 10_000


class Refused(ParleyError):
    """The server said no, in its own words.

    Args:
        told: its code, as in the contract. retriable: True when the same may succeed later, unchanged.
    """

    def __init__(self, told: str, message: str, *, retriable: bool = False) -> None:
        super().__init__(message)
        self.told = told
        self.retriable = retriable


class Reading:
    """One conversation being read: an asynchronous iterator, for one taker, of what is new, in order, each once.

    It yields `Event`s, and a `Subscribed` with `history` where what was shown is to be replaced. It ends by Refused.

    Args:
        thread: the conversation as of the newest frame that came, taken from the iterator or not.
        position: of that frame. What a taker has taken is behind its frame's own position.
    """

    def __init__(self, conversation: str, after: str | None, ask: Callable[["Reading"], None]) -> None:
        self.conversation = conversation
        self.position = after
        self.thread = Thread(is_whole=after is None)
        self._ask = ask
        self._waiting: deque[Subscribed | Event] = deque()
        self._came = asyncio.Event()
        self._failure: Exception | None = None
        self.ref = ""
        self.is_joined = False
        self.is_paused = False
        self.refused = 0  # subscribes since the last that was answered

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Subscribed | Event:
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            if self.is_paused:
                self.is_paused = False
                self._ask(self)
            self._came.clear()
            await self._came.wait()
        return self._waiting.popleft()

    def begin(self, frame: Subscribed) -> None:
        """It was subscribed: behind the position, or anew from history."""
        self.is_joined, self.refused, self.position = True, 0, frame.position
        if not frame.recovered and frame.history is not None:
            self.thread = from_history(frame.history, frame.before)
            self._put(frame)

    def take(self, frame: Event) -> Fate:
        """An event came."""
        fate = self.thread.take(frame.event)
        if fate is Fate.GAP:
            self.position = None
        else:
            self.position = frame.position
        if fate is Fate.TAKEN:
            self._put(frame)
            self.is_paused = len(self._waiting) >= MOST_WAITING
        return fate

    def fail(self, failure: Exception) -> None:
        """Nothing more will come."""
        self._failure = failure
        self._came.set()

    def _put(self, frame: Subscribed | Event) -> None:
        self._waiting.append(frame)
        self._came.set()
