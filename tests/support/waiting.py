"""Waiting for a fact that nothing announces: asked again and again, with a limit."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(ask: Callable[[], Awaitable[T]], *, limit_s: float = 10.0, every_s: float = 0.05) -> T:
    """The first true answer. Raises TimeoutError when none came within the limit."""
    async with asyncio.timeout(limit_s):
        while True:
            answer = await ask()
            if answer:
                return answer
            await asyncio.sleep(every_s)
