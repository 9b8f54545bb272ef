"""What came of a conversation waits to be taken: in order, once, and never without bound."""

import asyncio
from typing import Any

import pytest

from delivery.client import reading as room
from delivery.client.reading import Reading, Refused
from delivery.client.thread import Fate
from schemas.frames import Event, History, Subscribed
from tests.delivery.client.streams import plain
from tests.support.logs import TURNS, accepted, delta, started
from tests.support.samples import CONVERSATION

TURN = TURNS[0]
EVENTS = plain([accepted(TURN, 0), started(TURN, 1), *(delta(TURN, 1, seq) for seq in range(8))])


def frame(number: int) -> Event:
    """An event frame; its position is its number."""
    return Event(conversation=CONVERSATION, position=str(number), event=EVENTS[number])


def subscribed(*, recovered: bool) -> Subscribed:
    """The answer to a subscribe."""
    past = None if recovered else History(messages=(), open_turns=())
    return Subscribed(ref="r", conversation=CONVERSATION, recovered=recovered, position="start", history=past)


async def test_frames_are_handed_on_in_order_once() -> None:
    """The history and each new event are handed on; a repeat isn't, and the position is the newest frame's."""
    asked: list[Reading] = []
    reading = Reading(CONVERSATION, None, asked.append)
    reading.begin(subscribed(recovered=False))
    fates = [reading.take(frame(number)) for number in (0, 1, 2, 2, 3)]
    assert fates == [Fate.TAKEN, Fate.TAKEN, Fate.TAKEN, Fate.DROPPED, Fate.TAKEN]
    assert reading.position == "3"
    told: list[Any] = [await anext(reading) for _ in range(5)]
    assert isinstance(told[0], Subscribed)
    assert [each.position for each in told[1:]] == ["0", "1", "2", "3"]
    assert not asked


async def test_a_gap_gives_the_position_up() -> None:
    """After a gap the conversation is to be read from its history, which then stands for all that was shown."""
    reading = Reading(CONVERSATION, None, lambda _: None)
    reading.begin(subscribed(recovered=False))
    assert [reading.take(frame(number)) for number in (0, 1, 3)][-1] is Fate.GAP
    positions = [reading.position]
    reading.begin(subscribed(recovered=False))
    assert [*positions, reading.position] == [None, "start"]
    assert not reading.thread.turns


async def test_a_recovered_reading_shows_what_it_showed() -> None:
    """`recovered: true` replaces nothing and is not handed on."""
    reading = Reading(CONVERSATION, "0", lambda _: None)
    reading.begin(subscribed(recovered=True))
    reading.take(frame(2))
    told = await anext(reading)
    assert isinstance(told, Event)
    assert reading.thread.turns[TURN].answer == "<1.0>"


async def test_too_much_pauses_it_until_all_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its bound it is paused, and asked for again, behind its position, when the last waiting frame was taken."""
    monkeypatch.setattr(room, "MOST_WAITING", 3)
    asked: list[str | None] = []
    reading = Reading(CONVERSATION, None, lambda each: asked.append(each.position))
    reading.begin(subscribed(recovered=True))
    for number in range(3):
        reading.take(frame(number))
    was_paused = reading.is_paused
    for _ in range(3):
        await anext(reading)
    assert not asked
    waiting = asyncio.ensure_future(anext(reading))
    await asyncio.sleep(0)
    assert asked == ["2"]
    assert (was_paused, reading.is_paused) == (True, False)
    reading.take(frame(3))
    assert isinstance(await waiting, Event)


async def test_it_ends_behind_what_waits() -> None:
    """What came before the failure is still handed on; then the failure is raised, to each who asks."""
    reading = Reading(CONVERSATION, None, lambda _: None)
    reading.begin(subscribed(recovered=True))
    reading.take(frame(0))
    reading.fail(Refused("not_found", "no such conversation"))
    assert isinstance(await anext(reading), Event)
    for _ in range(2):
        with pytest.raises(Refused, match="no such conversation") as refused:
            await anext(reading)
        assert (refused.value.told, refused.value.retriable) == ("not_found", False)
