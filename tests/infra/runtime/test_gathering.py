"""Many that ask at the same time share questions, and each gets an answer that is younger than its call."""

import asyncio
from collections.abc import Mapping

import pytest

from infra.runtime.gathering import Gathered


class Answering:
    """Answers when told, with the number of the question."""

    def __init__(self) -> None:
        self.asked: list[set[str]] = []
        self.may_answer = asyncio.Event()
        self.trouble: Exception | None = None

    async def __call__(self, keys: frozenset[str]) -> Mapping[str, int]:
        """One question."""
        self.asked.append(set(keys))
        number = len(self.asked)
        await self.may_answer.wait()
        if self.trouble is not None:
            raise self.trouble
        return dict.fromkeys(keys, number)


async def _turn_of_the_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_asked_meanwhile_is_one_question() -> None:
    """The first goes alone; those that come while it is under way go together, none in a question sent before it."""
    answering = Answering()
    gathered: Gathered[str, int] = Gathered(answering, most=10)
    first = asyncio.create_task(gathered("a"))
    await _turn_of_the_loop()
    later = [asyncio.create_task(gathered(key)) for key in "abca"]
    await _turn_of_the_loop()
    assert answering.asked == [{"a"}]
    answering.may_answer.set()
    assert await first == 1
    assert await asyncio.gather(*later) == [2, 2, 2, 2]
    assert answering.asked == [{"a"}, {"a", "b", "c"}]
    assert await gathered("d") == 3


async def test_a_question_is_bounded() -> None:
    """More than a question holds go into the one behind it."""
    answering = Answering()
    answering.may_answer.set()
    gathered: Gathered[str, int] = Gathered(answering, most=3)
    assert await asyncio.gather(*(gathered(key) for key in "abcdefg")) == [1, 1, 1, 2, 2, 2, 3]
    assert [len(keys) for keys in answering.asked] == [3, 3, 1]


async def test_a_failure_is_everybodys_and_ends_with_the_question() -> None:
    """Who shares a question shares its error; the next question is a new one."""
    answering = Answering()
    answering.may_answer.set()
    answering.trouble = ConnectionError("gone")
    gathered: Gathered[str, int] = Gathered(answering, most=3)
    for found in await asyncio.gather(gathered("a"), gathered("b"), return_exceptions=True):
        assert found is answering.trouble
    answering.trouble = None
    assert await gathered("a") == 2


async def test_who_leaves_takes_no_answer_from_the_others() -> None:
    """A caller that is cancelled cancels nothing but itself."""
    answering = Answering()
    gathered: Gathered[str, int] = Gathered(answering, most=3)
    leaving, staying = asyncio.create_task(gathered("a")), asyncio.create_task(gathered("b"))
    await _turn_of_the_loop()
    leaving.cancel()
    answering.may_answer.set()
    assert await staying == 1
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_stop_is_an_error_for_who_waits() -> None:
    """Who waits while it is stopped isn't cancelled but told, also before its question was sent; the next is asked."""
    answering = Answering()
    gathered: Gathered[str, int] = Gathered(answering, most=3)
    waiting = [asyncio.create_task(gathered("a"))]
    await _turn_of_the_loop()
    waiting += [asyncio.create_task(gathered("b"))]
    await _turn_of_the_loop()
    await gathered.stop()
    for found in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(found, ConnectionError)
    answering.may_answer.set()
    assert await gathered("c") == 2


async def test_a_caller_that_leaves_at_a_stop_leaves() -> None:
    """Who is cancelled in the same moment as the question ends as cancelled."""
    gathered: Gathered[str, int] = Gathered(Answering(), most=3)
    leaving = asyncio.create_task(gathered("a"))
    await _turn_of_the_loop()
    stopping = asyncio.create_task(gathered.stop())
    await asyncio.sleep(0)
    leaving.cancel()
    await stopping
    with pytest.raises(asyncio.CancelledError):
        await leaving
