"""What a service's `watch` is made of: waiting for ever, until a task of its own dies of a bug."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def died(task: "asyncio.Task[Any] | None") -> None:
    """Wait for ever; raises what the task died of. One that was cancelled has not died."""
    if task is not None:
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()
    await asyncio.Event().wait()


async def first_to_fail(*watched: Coroutine[Any, Any, None]) -> None:
    """Run them until one ends; raises what it raised. The others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in watched]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
