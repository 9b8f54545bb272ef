"""Waiting for a task of ours to die."""

import asyncio

import pytest

from infra.runtime.watching import died, first_to_fail


async def _breaks() -> None:
    raise ValueError("a bug")


async def test_what_a_task_died_of_is_raised() -> None:
    """A bug comes through; a task that was stopped, or never begun, is waited behind for ever."""
    with pytest.raises(ValueError, match="a bug"):
        await died(asyncio.create_task(_breaks()))
    stopped = asyncio.create_task(asyncio.Event().wait())
    stopped.cancel()
    for task in (stopped, None):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await died(task)


async def test_the_first_to_fail_ends_the_others() -> None:
    """Whoever else is watched is cancelled, also when the watcher is."""
    ended = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ValueError, match="a bug"):
        await first_to_fail(waits(), _breaks())
    async with asyncio.timeout(5):
        await ended.wait()
