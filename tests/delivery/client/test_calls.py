"""A frame that waits for its answer gets it, is said again, or fails: it never waits for ever."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from delivery.client.calls import Calls, NotAnswered
from delivery.client.reading import Refused
from schemas.frames import Ping, Stop


class Said:
    """The connection: what was said over it, while there is one."""

    def __init__(self, *, is_there: bool = True) -> None:
        self.is_there = is_there
        self.frames: list[Any] = []

    def __call__(self, frame: object) -> bool:
        if self.is_there:
            self.frames.append(frame)
        return self.is_there


async def begun(call: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    """The call, as far as it gets without an answer."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(0)
    return task


async def test_an_answer_finds_its_call() -> None:
    """Answers come in any order and each goes to the call of its `ref`; one that nobody waits for is passed over."""
    calls = Calls(said := Said(), 10)
    first = await begun(calls.ask(Ping(ref="a"), is_repeatable=False))
    second = await begun(calls.ask(Ping(ref="b"), is_repeatable=False))
    for ref in ("c", None, 7, "b", "b", "a"):
        calls.answer(ref, {"ref": ref})
    assert (await first, await second) == ({"ref": "a"}, {"ref": "b"})
    assert [frame.ref for frame in said.frames] == ["a", "b"]


async def test_a_cut_ends_only_what_can_not_be_repeated() -> None:
    """After a cut, what may be done once is said again in order; the rest fails, if it had been said at all."""
    calls = Calls(said := Said(), 10)
    ping = await begun(calls.ask(Ping(ref="p"), is_repeatable=False))
    stop = await begun(calls.ask(Stop(ref="s", turn="t"), is_repeatable=True))
    said.is_there = False
    unsaid = await begun(calls.ask(Ping(ref="u"), is_repeatable=False))
    calls.lost()
    with pytest.raises(Refused) as lost:
        await ping
    assert (lost.value.told, lost.value.retriable) == ("unavailable", True)
    said.is_there = True
    said.frames.clear()
    calls.say_all()
    assert [frame.ref for frame in said.frames] == ["s", "u"]
    calls.answer("s", {"ref": "s"})
    calls.answer("u", Refused("overloaded", "too much", retriable=True))
    assert await stop == {"ref": "s"}
    with pytest.raises(Refused, match="too much"):
        await unsaid


async def test_no_answer_is_told_in_time() -> None:
    """Without an answer a call ends at its limit and is said no more; so does one whose caller went away."""
    calls = Calls(said := Said(is_there=False), 0.01)
    with pytest.raises(NotAnswered, match="`ping` within"):
        await calls.ask(Ping(ref="p"), is_repeatable=True)
    gone = await begun(calls.ask(Ping(ref="g"), is_repeatable=True))
    gone.cancel()
    await asyncio.wait({gone})
    said.is_there = True
    calls.say_all()
    assert said.frames == []


async def test_a_failed_client_fails_every_call() -> None:
    """When no answer will come any more, every call that waits learns why."""
    calls = Calls(Said(), 10)
    waiting = [await begun(calls.ask(Ping(ref=ref), is_repeatable=True)) for ref in ("a", "b")]
    calls.fail(Refused("unauthenticated", "no such key"))
    for each in waiting:
        with pytest.raises(Refused, match="no such key"):
            await each
