import asyncio

import pytest

from inference_consumers.engines.mailbox import Mailbox


async def test_items_come_in_order_and_an_error_in_its_turn() -> None:
    """A reader gets what was put before an error, then the error."""
    mailbox = Mailbox[int]()
    mailbox.put(1)
    mailbox.put(ValueError("broken"))
    assert await mailbox.get() == 1
    with pytest.raises(ValueError, match="broken"):
        await mailbox.get()


async def test_a_waiting_reader_is_woken_and_a_cancelled_one_loses_nothing() -> None:
    """An item put after a reader was cancelled goes to the next reader."""
    mailbox = Mailbox[int]()
    waiting = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    reader = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    mailbox.put(7)
    assert await reader == 7
