"""From an engine's step to the coroutine that reads one answer: a queue that costs nothing while it holds something."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """One writer, one reader, one loop. Bounded by the answer's length: nobody writes more than `max_tokens` items."""

    def __init__(self) -> None:
        self._items: deque[T | Exception] = deque()
        self._reader: asyncio.Future[None] | None = None

    def put(self, item: T | Exception) -> None:
        """Hand over an item; an exception is raised at the reader in its turn."""
        self._items.append(item)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> T:
        """The next item; may be cancelled without losing one."""
        while not self._items:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        item = self._items.popleft()
        if isinstance(item, Exception):
            raise item
        return item
