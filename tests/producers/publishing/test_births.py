import asyncio
import os
from collections.abc import Mapping, Sequence

import pytest

from infra.runtime.clock import Clock
from producers.publishing.births import Births
from producers.publishing.layouts import SPARE_LIFE_MS, Layout
from schemas import ids
from schemas.errors import KafkaUnavailable
from schemas.ids import ConversationId
from tests.support.waiting import until


class Brokers:
    """Own topics and spares without Kafka: remembers what exists and what lies ready."""

    is_makers = False

    def __init__(self, lying: int = 0, *, now_ms: int = 1_000_000) -> None:
        self.now_ms = now_ms
        self.clock = Clock(wall_ms=lambda: self.now_ms, monotonic_s=lambda: 0.0, entropy=os.urandom)
        self.made: set[ConversationId] = set()
        self.lying: list[ConversationId] = []
        self.is_away = False
        self.bug: Exception | None = None
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.lay(lying)

    def lay(self, count: int) -> None:
        self.lying += [ids.conversation_id(ids.uuid7_hex(self.now_ms, os.urandom(10))) for _ in range(count)]

    async def make(self, conversations: Sequence[ConversationId]) -> None:
        await self.is_open.wait()
        self.made |= set(conversations)

    async def unmake(self, conversations: Sequence[ConversationId]) -> None:
        self.made -= set(conversations)

    async def there(self) -> Sequence[ConversationId]:
        return list(self.made)

    async def take(self, most: int) -> Sequence[ConversationId]:
        if self.is_away:
            raise KafkaUnavailable("away")
        if self.bug is not None:
            raise self.bug
        taken, self.lying = self.lying[:most], self.lying[most:]
        await self.is_open.wait()
        await asyncio.sleep(0)
        return taken

    async def untaken(self) -> Mapping[int, int]:
        return {0: len(self.lying)}

    async def offer(self, spares: Mapping[ConversationId, int | None]) -> None:
        if self.is_away:
            raise KafkaUnavailable("away")
        self.lying += spares


def _births(layout: Layout, brokers: Brokers, *, most: int = 4) -> Births:
    return Births(layout, brokers, brokers, brokers.clock, most=most)


async def _held(births: Births, count: int) -> None:
    async def is_so() -> bool:
        return births.spares == count

    await until(is_so, limit_s=5, every_s=0.001)


async def test_a_spare_is_taken_once() -> None:
    """Each birth has a topic of its own; the hand is filled again from what lies ready, and no further."""
    brokers = Brokers(6)
    births = _births(Layout.ADAPTIVE, brokers)
    births.start()
    await _held(births, 4)
    born = [await births.birth(None) for _ in range(3)]
    await _held(births, 3)
    born += [await births.birth(None) for _ in range(3)]
    assert len({each.conversation for each in born}) == 6
    assert not any(each.retired for each in born)
    assert (await births.birth(None)).retired
    await births.stop()


async def test_a_birth_while_spares_are_on_their_way_is_one() -> None:
    """What is born while the hand is being filled doesn't come back into it."""
    brokers = Brokers(2)
    births = _births(Layout.ADAPTIVE, brokers, most=2)
    births.start()
    await _held(births, 2)
    first = await births.birth(None)
    brokers.is_open.clear()
    brokers.lay(1)

    async def is_taken() -> bool:
        return not brokers.lying

    await until(is_taken, limit_s=5, every_s=0.001)
    second = await births.birth(None)
    brokers.is_open.set()
    await _held(births, 1)
    third = await births.birth(None)
    assert len({each.conversation for each in (first, second, third)}) == 3
    assert not third.retired
    await births.stop()


async def test_without_a_spare_it_is_a_lane() -> None:
    """Nobody waits for a topic: with none at hand, and for a name that a key gives, the conversation rides a lane."""
    brokers = Brokers()
    births = _births(Layout.ADAPTIVE, brokers)
    assert (await births.birth(None)).retired
    keyed = await births.birth("8" * 32)
    assert (keyed.conversation, keyed.retired) == (f"conv_{'8' * 32}", True)
    assert not brokers.made


async def test_dedicated_makes_it_in_place() -> None:
    """The layout that promises a topic makes one when none is at hand."""
    brokers = Brokers()
    births = _births(Layout.DEDICATED, brokers)
    for own_hex in ("8" * 32, None):
        born = await births.birth(own_hex)
        assert not born.retired
        assert born.conversation in brokers.made


async def test_dedicated_waits_so_long_for_a_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Kafka makes none in time that is said, instead of kept waiting for."""
    monkeypatch.setattr("producers.publishing.births._MAKE_S", 0.01)
    brokers = Brokers()
    brokers.is_open.clear()
    with pytest.raises(KafkaUnavailable, match="no topic was made"):
        await _births(Layout.DEDICATED, brokers).birth(None)


async def test_the_oldest_spare_goes_first() -> None:
    """Spares are born in the order in which they were made, one that was given back before the others."""
    brokers = Brokers(4)
    named = list(brokers.lying)
    births = _births(Layout.ADAPTIVE, brokers)
    births.start()
    await _held(births, 4)
    first = await births.birth(None)
    births.give_back(first)
    assert [(await births.birth(None)).conversation for _ in named] == named
    await births.stop()


async def test_a_bug_is_heard_of() -> None:
    """What the taking of spares dies of is raised where it is watched; nothing is while it goes on, or was stopped."""
    brokers = Brokers(1)
    births, watched = _births(Layout.ADAPTIVE, brokers), _births(Layout.ADAPTIVE, brokers)
    births.start()
    watching = asyncio.create_task(births.failed())
    await _held(births, 1)
    await births.stop()
    assert not watching.done()
    watching.cancel()
    brokers.bug = LookupError("a bug")
    watched.start()
    with pytest.raises(LookupError, match="a bug"):
        await asyncio.wait_for(watched.failed(), 5)
    await watched.stop()


async def test_lanes_take_no_topics() -> None:
    """In lanes nothing has a topic, and no spares are taken."""
    brokers = Brokers(4)
    births = _births(Layout.LANES, brokers, most=0)
    births.start()
    assert (await births.birth(None)).retired
    await births.stop()
    assert len(brokers.lying) == 4


async def test_an_old_spare_becomes_nobody() -> None:
    """A spare whose topic may soon be deleted is dropped, in the hand and where it lies, also at a stop."""
    brokers = Brokers(6)
    births = _births(Layout.ADAPTIVE, brokers)
    births.start()
    await _held(births, 4)
    brokers.now_ms += SPARE_LIFE_MS
    assert (await births.birth(None)).retired
    brokers.lay(1)
    await _held(births, 1)
    assert not (await births.birth(None)).retired
    await births.stop()
    assert not brokers.lying


async def test_what_was_not_used_is_a_spare_again() -> None:
    """A birth that came to nothing gives its topic back; at a stop what nobody used lies ready for other gateways."""
    brokers = Brokers(4)
    births = _births(Layout.ADAPTIVE, brokers)
    births.start()
    await _held(births, 4)
    born = await births.birth(None)
    births.give_back(born)
    assert births.spares == 4
    await births.stop()
    assert len(brokers.lying) == 4
    assert born.conversation in brokers.lying


async def test_a_stop_waits_for_what_is_on_its_way() -> None:
    """Spares that a stop meets between the commit and the hand are given to the other gateways like the rest."""
    brokers = Brokers(2)
    brokers.is_open.clear()
    births = _births(Layout.ADAPTIVE, brokers)
    births.start()

    async def is_taken() -> bool:
        return not brokers.lying

    await until(is_taken, limit_s=5, every_s=0.001)
    stopping = asyncio.create_task(births.stop())
    await asyncio.sleep(0)
    brokers.is_open.set()
    await stopping
    assert len(brokers.lying) == 2


async def test_kafka_away_at_the_end() -> None:
    """Spares that can't be given back are left behind, and stopping goes on."""
    brokers = Brokers(4)
    births = _births(Layout.ADAPTIVE, brokers)
    births.start()
    await _held(births, 4)
    brokers.is_away = True
    await births.stop()
    assert births.spares == 0
