"""One attempt's appends."""

import asyncio

import pytest

from inference_consumers.publishing.attempt_log import AttemptLog
from schemas.errors import KafkaUnavailable
from schemas.turns import LogAddress
from tests.inference_consumers.memory_log import MemoryLog
from tests.support.logs import TURNS, delta

ADDRESS = LogAddress("conversations", 0)


async def test_records_are_appended_in_order() -> None:
    """What was put is in the log in that order, and `settled` names the last one's offset."""
    log = MemoryLog()
    attempt = AttemptLog(log, ADDRESS)
    records = [delta(TURNS[0], 1, seq) for seq in range(20)]
    for record in records:
        attempt.put(record)
    assert await attempt.settled() == 19
    assert log.records == records
    assert attempt.unacked == 0


async def test_nothing_put_is_settled() -> None:
    """An attempt that said nothing has nothing to wait for."""
    assert await AttemptLog(MemoryLog(), ADDRESS).settled() == -1


@pytest.mark.parametrize("lands", [False, True])
async def test_nothing_follows_a_failed_append(lands: bool) -> None:
    """The first failure loses the attempt: it is told once, and nothing more is sent."""
    log, told = MemoryLog(), list[bool]()
    attempt = AttemptLog(log, ADDRESS, on_lost=lambda: told.append(True))
    attempt.put(delta(TURNS[0], 1, 0))
    await attempt.settled()
    log.fail_next(lands=lands)
    attempt.put(delta(TURNS[0], 1, 1))
    with pytest.raises(KafkaUnavailable):
        await attempt.settled()
    attempt.put(delta(TURNS[0], 1, 2))
    with pytest.raises(KafkaUnavailable):
        await attempt.settled()
    assert attempt.is_lost
    assert told == [True]
    assert len(log.records) == 1 + lands


async def test_what_waits_is_counted_until_acknowledged() -> None:
    """`unacked` tells how far the log is behind, and every acknowledgement is told."""
    log, told = MemoryLog(), list[int]()
    log.is_held.clear()
    attempt = AttemptLog(log, ADDRESS, on_acked=lambda: told.append(attempt.unacked))
    for seq in range(3):
        attempt.put(delta(TURNS[0], 1, seq))
    await asyncio.sleep(0)
    assert attempt.unacked == 3
    log.is_held.set()
    await attempt.settled()
    assert attempt.unacked == 0
    assert len(told) == 3


async def test_a_closed_attempt_sends_nothing_more() -> None:
    """What had not left when it was closed never leaves."""
    log = MemoryLog()
    log.is_held.clear()
    attempt = AttemptLog(log, ADDRESS)
    attempt.put(delta(TURNS[0], 1, 0))
    attempt.put(delta(TURNS[0], 1, 1))
    await attempt.close()
    log.is_held.set()
    await asyncio.sleep(0)
    assert log.records == []
    await attempt.close()
