"""One look at the log's end for all who ask at the same time."""

import asyncio
from collections.abc import Awaitable, Callable


class Refreshing:
    """Shares refreshes: a caller gets one that began after its call, and at most one waits behind the one that runs.

    Args:
        refresh: brings something up to date; may raise KafkaUnavailable.
    """

    def __init__(self, refresh: Callable[[], Awaitable[None]]) -> None:
        self._refresh = refresh
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Up to date with all that was acknowledged before the call. Raises what the refresh raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        await asyncio.shield(self._next)

    async def _after(self, running: "asyncio.Task[None] | None") -> None:
        if running is not None:
            await asyncio.wait({running})
        self._running, self._next = self._next, None
        await self._refresh()
