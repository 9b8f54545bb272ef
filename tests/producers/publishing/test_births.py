import asyncio
import os
from collections.abc import Sequence

from infra.runtime.clock import Clock
from producers.publishing.births import Births
from producers.publishing.layouts import Layout
from schemas.errors import KafkaUnavailable
from schemas.ids import ConversationId

CLOCK = Clock(wall_ms=lambda: 1_000_000, monotonic_s=lambda: 0.0, entropy=os.urandom)


class Maker:
    """Remembers what exists."""

    def __init__(self) -> None:
        self.made: set[ConversationId] = set()
        self.batches = 0
        self.filled = asyncio.Event()
        self.is_away = False

    async def make(self, conversations: Sequence[ConversationId]) -> None:
        if self.is_away:
            raise KafkaUnavailable("away")
        self.batches += 1
        self.made |= set(conversations)
        self.filled.set()

    async def unmake(self, conversations: Sequence[ConversationId]) -> None:
        if self.is_away:
            raise KafkaUnavailable("away")
        self.made -= set(conversations)


def _births(layout: Layout, maker: Maker, *, spares: int = 4, live: int = 0) -> Births:
    return Births(layout, maker, CLOCK, spares=spares, most=5000, live=lambda: live)


async def _filled(maker: Maker) -> None:
    await asyncio.wait_for(maker.filled.wait(), 5)
    maker.filled.clear()
    await asyncio.sleep(0)


async def test_a_spare_is_taken_once() -> None:
    """Each birth has a topic of its own that was made before; half gone, they are made again in one batch."""
    maker = Maker()
    births = _births(Layout.ADAPTIVE, maker)
    births.start()
    await _filled(maker)
    born = [await births.birth(None) for _ in range(2)]
    await _filled(maker)
    born += [await births.birth(None) for _ in range(2)]
    assert len({each.conversation for each in born}) == 4
    assert {each.conversation for each in born} <= maker.made
    assert not any(each.retired for each in born)
    assert maker.batches == 2
    await births.stop()
    assert maker.made == {each.conversation for each in born}


async def test_without_a_spare_it_is_a_lane() -> None:
    """Nobody waits for a topic: with none at hand, and for a name that a key gives, the conversation rides a lane."""
    maker = Maker()
    births = _births(Layout.ADAPTIVE, maker)
    assert (await births.birth(None)).retired
    keyed = await births.birth("8" * 32)
    assert (keyed.conversation, keyed.retired) == (f"conv_{'8' * 32}", True)
    assert not maker.made


async def test_dedicated_makes_it_in_place() -> None:
    """The layout that promises a topic makes one when none is at hand."""
    maker = Maker()
    births = _births(Layout.DEDICATED, maker)
    born = await births.birth("8" * 32)
    assert not born.retired
    assert born.conversation in maker.made


async def test_lanes_make_no_topics() -> None:
    """In lanes nothing has a topic, and no spares are kept."""
    maker = Maker()
    births = _births(Layout.LANES, maker)
    births.start()
    assert (await births.birth(None)).retired
    await births.stop()
    assert maker.batches == 0


async def test_what_was_not_used_is_a_spare_again() -> None:
    """A birth that came to nothing gives its topic back."""
    maker = Maker()
    births = _births(Layout.ADAPTIVE, maker)
    births.start()
    await _filled(maker)
    born = await births.birth(None)
    before = births.spares
    births.give_back(born)
    assert births.spares == before + 1
    await births.stop()


async def test_kafka_away_at_the_end() -> None:
    """Spares that can't be deleted are left behind, and stopping goes on."""
    maker = Maker()
    births = _births(Layout.ADAPTIVE, maker)
    births.start()
    await _filled(maker)
    maker.is_away = True
    await births.stop()
    assert births.spares == 0
