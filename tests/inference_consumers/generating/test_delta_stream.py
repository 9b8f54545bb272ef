"""Deltas of one attempt, on time."""

import asyncio

from inference_consumers.generating.coalescer import Delta
from inference_consumers.generating.delta_stream import DeltaStream
from inference_consumers.publishing.attempt_log import AttemptLog
from schemas.records import TurnDelta
from schemas.turns import LogAddress
from tests.inference_consumers.memory_log import MemoryLog
from tests.support.logs import TURNS, delta
from tests.support.waiting import until


def _write(seq: int, made: Delta) -> TurnDelta:
    return delta(TURNS[0], 1, seq, made.text, tokens=len(made.token_ids))


def _stream(log: MemoryLog, *, merge_ms: float, seq: int = 0) -> tuple[DeltaStream, AttemptLog]:
    attempt = AttemptLog(log, LogAddress("conversations", 0), on_acked=lambda: stream.pump())  # noqa: PLW0108 - made below
    stream = DeltaStream(attempt, _write, seq=seq, merge_ms=merge_ms)
    return stream, attempt


def _texts(log: MemoryLog) -> list[str]:
    return [record.text for record in log.records if isinstance(record, TurnDelta)]


async def test_the_first_piece_leaves_at_once() -> None:
    """The first delta waits for no timer; what follows soon is merged into the next, sent by itself."""
    log = MemoryLog()
    stream, attempt = _stream(log, merge_ms=20)
    stream.push("a", (1,))
    stream.push("b", (2,))
    stream.push("c", (3,))
    await attempt.settled()
    assert _texts(log) == ["a"]

    async def merged() -> bool:
        return _texts(log) == ["a", "bc"]

    await until(merged, every_s=0.001)
    assert stream.texts == ["a", "b", "c"]
    assert stream.token_ids == [1, 2, 3]


async def test_numbers_go_on_behind_the_predecessors() -> None:
    """`seq` begins where the log stands and rises by one a delta."""
    log = MemoryLog()
    stream, attempt = _stream(log, merge_ms=0, seq=7)
    stream.push("a", (1,))
    stream.push("b", (2,))
    await attempt.settled()
    assert [record.seq for record in log.records if isinstance(record, TurnDelta)] == [7, 8]
    assert stream.seq == 9


async def test_flushing_sends_what_is_held() -> None:
    """At the end nothing waits for a timer."""
    log = MemoryLog()
    stream, attempt = _stream(log, merge_ms=10_000)
    stream.push("a", (1,))
    stream.push("b", (2,))
    stream.flush()
    stream.flush()
    await attempt.settled()
    assert _texts(log) == ["a", "b"]


async def test_a_slow_log_makes_larger_deltas() -> None:
    """While many deltas are unacknowledged more is merged; acknowledgements let it go."""
    log = MemoryLog()
    log.is_held.clear()
    stream, attempt = _stream(log, merge_ms=0)
    for number in range(100):
        stream.push("x", (number,))
        await asyncio.sleep(0)
    assert attempt.unacked <= 8
    log.is_held.set()

    async def all_there() -> bool:
        return "".join(_texts(log)) == "x" * 100

    await until(all_there, every_s=0.001)
    assert len(_texts(log)) < 30


async def test_a_closed_stream_sends_nothing_by_itself() -> None:
    """The timer is gone with the stream."""
    log = MemoryLog()
    stream, attempt = _stream(log, merge_ms=5)
    stream.push("a", (1,))
    await attempt.settled()
    stream.push("b", (2,))
    stream.close()
    assert stream._timer is None
    assert _texts(log) == ["a"]
