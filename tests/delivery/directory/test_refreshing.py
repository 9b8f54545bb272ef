"""Shared refreshes begin after the call that asks for them."""

import asyncio

import pytest

from delivery.directory.refreshing import Refreshing
from schemas.errors import KafkaUnavailable


async def test_a_caller_gets_a_refresh_that_began_after_its_call() -> None:
    """Callers during a refresh share the next one; none is served by one that began before it asked."""
    begun = [asyncio.Event(), asyncio.Event()]
    released = [asyncio.Event(), asyncio.Event()]
    numbers = iter(range(2))

    async def refresh() -> None:
        number = next(numbers)
        begun[number].set()
        await released[number].wait()

    shared = Refreshing(refresh)
    first = asyncio.create_task(shared())
    await begun[0].wait()
    later = [asyncio.create_task(shared()) for _ in range(3)]
    await asyncio.sleep(0)
    released[0].set()
    await first
    assert not any(each.done() for each in later)
    await begun[1].wait()
    released[1].set()
    await asyncio.gather(*later)
    assert next(numbers, None) is None


async def test_a_failure_reaches_its_callers_and_no_others() -> None:
    """Who asked hears of the failure; the next caller asks anew."""
    outcomes = [KafkaUnavailable("away"), None]

    async def refresh() -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    shared = Refreshing(refresh)
    with pytest.raises(KafkaUnavailable):
        await shared()
    await shared()
    assert not outcomes
