"""One question about many things: what is asked while one is under way goes together into the next."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class _Question(Generic[K, V]):
    """What is asked at once, until it is sent.

    Args:
        answers: their values, by key.
    """

    def __init__(self) -> None:
        self.keys: set[K] = set()
        self.answers: asyncio.Task[Mapping[K, V]]


class Gathered(Generic[K, V]):
    """Answers about single keys; a lone one is asked for at once, a thousand cost a few questions.

    Args:
        ask: answers about every key that it is given. What it raises is raised for each of them.
        most: keys in one question.
    """

    def __init__(self, ask: Callable[[frozenset[K]], Awaitable[Mapping[K, V]]], *, most: int) -> None:
        self._ask = ask
        self._most = most
        self._next: _Question[K, V] | None = None
        self._last: asyncio.Task[Mapping[K, V]] | None = None
        self._running: set[asyncio.Task[Mapping[K, V]]] = set()

    async def __call__(self, key: K) -> V:
        """The answer to a question that was sent after this call.

        Raises:
            ConnectionError: `stop` was called meanwhile. Besides, whatever `ask` raises.
        """
        question = self._next
        if question is None or len(question.keys) >= self._most:
            question = self._next = _Question()
            question.answers = self._last = asyncio.create_task(self._asked(question, self._last))
            self._running.add(question.answers)
            question.answers.add_done_callback(self._running.discard)
        question.keys.add(key)
        try:
            return (await asyncio.shield(question.answers))[key]
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if question.answers.cancelled() and current is not None and not current.cancelling():
                # Whoever waits here was not told to end: passed on, this would end it as if it had been.
                raise ConnectionError("what was to answer is closed") from None
            raise

    async def stop(self) -> None:
        """Whoever waits is told that nothing will answer. Idempotent."""
        self._next = None
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _asked(self, question: _Question[K, V], before: "asyncio.Task[Mapping[K, V]] | None") -> Mapping[K, V]:
        if before is not None and not before.done():
            await asyncio.wait({before})
        if self._next is question:
            self._next = None
        return await self._ask(frozenset(question.keys))
