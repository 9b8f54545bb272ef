"""The one spare maker: its bound, its successor, and what it deletes; on real Kafka but where it is interrupted."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.runtime.clock import SYSTEM, Clock
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.kafka_topics import TopicAdmin
from producers.publishing.layouts import LEFTOVER_MS
from producers.publishing.spare_maker import Making, SpareMaker, pause_s
from schemas import ids, instants, topics
from schemas.errors import KafkaUnavailable
from schemas.ids import ConversationId
from schemas.records import ConversationChanged
from tests.producers.support.spare_gateway import SpareGateway, prepared, settings_of, sharing
from tests.support.waiting import until

MOST = 30


@pytest.fixture
async def settings(kafka: str, topic_prefix: str) -> AsyncIterator[KafkaSettings]:
    made = settings_of(kafka, topic_prefix)
    await prepared(made)
    yield made
    admin = TopicAdmin(made, "test")
    await admin.delete(await admin.names())
    await admin.stop()


async def test_the_bound_holds_for_all_gateways_together(settings: KafkaSettings) -> None:
    """Three gateways under a burst: an own topic is one conversation's, all exist, and no more than there may be."""
    born: list[ConversationId] = []
    lanes = 0

    async def burst(gateway: SpareGateway, count: int) -> None:
        """Births until so many of all gateways' have an own topic."""
        nonlocal lanes
        while len(born) < count:
            birth = await gateway.births.birth(None)
            if birth.retired:
                lanes += 1
            else:
                born.append(birth.conversation)
            await asyncio.sleep(0.001)

    async with sharing(3, settings, most=MOST) as gateways, asyncio.timeout(60):
        there = gateways[0].own.there
        await asyncio.gather(*(burst(each, MOST) for each in gateways))
        assert len(set(born)) == len(born) == MOST
        assert set(await there()) == set(born)
        assert lanes > 0
        assert all([(await each.births.birth(None)).retired for each in gateways])
        # A conversation's topic that goes makes room for another's.
        await gateways[0].own.unmake(born[:5])
        await asyncio.gather(*(burst(each, MOST + 5) for each in gateways))
        assert len(set(born)) == len(born) == MOST + 5
        assert set(born[5:]) == set(await there())


async def test_a_killed_maker_is_followed(settings: KafkaSettings) -> None:
    """A gateway that makes spares and dies by SIGKILL takes those in its hand along; the next one makes more."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.producers.support.spare_gateway",
        settings.bootstrap, settings.topic_prefix, "5000", stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    survivor = SpareGateway(settings, most=5000)
    assert process.stdout is not None
    try:
        theirs = [await asyncio.wait_for(process.stdout.readline(), 60) for _ in range(20)]
        await survivor.start()
        ours = [(await survivor.own_birth()).conversation for _ in range(5)]
        process.kill()
        theirs += (await process.stdout.read()).splitlines()
        await process.wait()

        async def is_makers() -> bool:
            return survivor.spares.is_makers

        await until(is_makers, limit_s=60)
        ours += [(await survivor.own_birth()).conversation for _ in range(40)]
        named = [line.decode().strip() for line in theirs] + ours
        assert len(named) == len(set(named))
        assert set(ours) <= set(await survivor.own.there())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await survivor.stop()


@pytest.fixture
async def stack() -> AsyncIterator[contextlib.AsyncExitStack]:
    """What a test started is stopped behind it."""
    async with contextlib.AsyncExitStack() as made:
        yield made


async def test_only_what_nobody_will_use_is_deleted(settings: KafkaSettings, stack: contextlib.AsyncExitStack) -> None:
    """Leaked spares go when they are old; one that is young, a conversation's, a deleted one's or a key's stays."""
    now_ms = SYSTEM.wall_ms()

    def spare(age_ms: int) -> ConversationId:
        return ids.conversation_id(ids.uuid7_hex(now_ms - age_ms, os.urandom(10)))

    old = LEFTOVER_MS + 60_000
    leaked, used, gone, young = spare(old), spare(old), spare(old), spare(0)
    keyed = ids.conversation_id(ids.uuid8_hex(os.urandom(16)))
    gateway = SpareGateway(settings, most=100)
    stack.push_async_callback(gateway.stop)
    await gateway.directory.start()
    await gateway.own.make([leaked, used, gone, young, keyed])
    at = instants.from_ms(now_ms)
    changed = ConversationChanged(id="c", at=at, tenant="acme", conversation=used, user="anna", created_at=at)
    await gateway.appender.append(topics.CONVERSATIONS, changed)
    await gateway.appender.append(topics.CONVERSATIONS, replace(changed, conversation=gone, deleted=True))
    assert await gateway.maker.sweep() == [leaked]

    async def is_gone() -> bool:
        return set(await gateway.own.there()) == {used, gone, young, keyed}

    await until(is_gone)
    assert not await gateway.maker.sweep()


class Slow:
    """Spares and topics without Kafka, of which the maker loses the first partition or Kafka at a chosen moment."""

    def __init__(self) -> None:
        self.is_makers = True
        self.is_away = False
        self.bug: Exception | None = None
        self.loses = False
        self.asked = 0
        self.listed = 0
        self.takes_offers = True
        self.made: list[ConversationId] = []
        self.offered: dict[ConversationId, int | None] = {}

    async def take(self, _most: int) -> Sequence[ConversationId]:
        return ()

    async def untaken(self) -> Mapping[int, int]:
        self.asked += 1
        if self.bug is not None:
            raise self.bug
        if self.is_away:
            raise KafkaUnavailable("away")
        return {0: sum(partition == 0 for partition in self.offered.values())}

    async def offer(self, spares: Mapping[ConversationId, int | None]) -> None:
        if not self.takes_offers:
            raise KafkaUnavailable("away")
        self.offered |= spares

    async def make(self, conversations: Sequence[ConversationId]) -> None:
        self.made += conversations

    async def unmake(self, conversations: Sequence[ConversationId]) -> None:
        self.made = [each for each in self.made if each not in conversations]

    async def there(self) -> Sequence[ConversationId]:
        self.is_makers = not self.loses
        self.listed += 1
        return self.made

    async def nameless(self, conversations: Sequence[ConversationId]) -> Sequence[ConversationId]:
        return conversations


def _maker(
    slow: Slow, *, target: int = 4, most: int | None = 10, per_s: float = 1000.0, clock: Clock = SYSTEM
) -> SpareMaker:
    return SpareMaker(slow, slow, slow, clock, Making(target=target, most=most, per_s=per_s))


async def test_who_lost_the_first_partition_makes_nothing() -> None:
    """A gateway that learns while it counts that another makes spares now leaves it at that."""
    slow = Slow()
    slow.loses = True
    assert await _maker(slow).refill() == 0
    assert slow.made == []


async def test_what_lies_there_is_what_was_made() -> None:
    """Topics are made before they are offered, up to the target and the bound; without a bound nobody counts."""
    slow = Slow()
    assert await _maker(slow).refill() == 4
    assert list(slow.offered) == slow.made
    assert await _maker(slow).refill() == 0
    slow.offered.clear()
    assert await _maker(slow, most=6).refill() == 2
    slow.offered.clear()
    slow.loses = True
    assert await _maker(slow, most=None).refill() == 4


async def test_at_the_bound_topics_are_listed_now_and_then() -> None:
    """Where there is no room the brokers' topics are counted every ten seconds, however often it is looked."""
    now_s = 0.0
    slow = Slow()
    maker = _maker(slow, most=4, clock=replace(SYSTEM, monotonic_s=lambda: now_s))
    assert await maker.refill() == 4
    slow.offered.clear()
    slow.listed = 0
    for _ in range(100):
        now_s += 0.2
        assert await maker.refill() == 0
    assert slow.listed == 2
    await slow.unmake(slow.made[:3])
    now_s += 10.0
    assert await maker.refill() == 3


@given(st.integers(0, 10_000))
def test_the_pause_doubles_with_every_lost_batch(lost: int) -> None:
    """From a second on, and never more than five minutes."""
    assert pause_s(0) == 1.0
    assert pause_s(lost + 1) == min(2 * pause_s(lost), 300.0)


async def test_lost_batches_come_ever_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics that are made and can't be offered are made ever less often, and at the old pace once one was offered."""
    slept: list[float] = []
    is_enough = asyncio.Event()
    slow = Slow()
    slow.takes_offers = False

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        slow.takes_offers = len(slept) == 3
        slow.offered.clear()
        if len(slept) == 5:
            is_enough.set()
            await asyncio.Event().wait()

    monkeypatch.setattr("producers.publishing.spare_maker.asyncio.sleep", sleep)
    maker = _maker(slow, most=None)
    maker.start()
    await asyncio.wait_for(is_enough.wait(), 5)
    monkeypatch.undo()
    await maker.stop()
    assert slept == [2.0, 4.0, 8.0, 0.2, 2.0]


async def test_the_maker_outlives_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka away is asked again, and what another gateway is to do is left to it."""
    monkeypatch.setattr("producers.publishing.spare_maker._LOOK_S", 0.001)
    monkeypatch.setattr("producers.publishing.spare_maker._AGAIN_S", 0.001)
    slow = Slow()
    slow.is_away = True
    maker = _maker(slow)
    maker.start()

    async def is_asked_again() -> bool:
        return slow.asked > 1

    async def is_filled() -> bool:
        return len(slow.offered) == 4

    await until(is_asked_again)
    slow.is_away = False
    await until(is_filled)
    slow.is_makers = False
    await maker.stop()
    await maker.stop()


async def test_a_bug_is_heard_of() -> None:
    """What the making of spares dies of is raised where it is watched; a stop is no failure."""
    slow = Slow()
    maker = _maker(slow)
    maker.start()
    watching = asyncio.create_task(maker.failed())
    await maker.stop()
    assert not watching.done()
    watching.cancel()
    slow.bug = LookupError("a bug")
    maker.start()
    with pytest.raises(LookupError, match="a bug"):
        await asyncio.wait_for(maker.failed(), 5)
    await maker.stop()


async def test_no_faster_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a batch the maker rests as long as the batch stands for."""
    slept: list[float] = []
    resting = asyncio.Event()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        resting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("producers.publishing.spare_maker.asyncio.sleep", sleep)
    maker = _maker(Slow(), target=40, most=None, per_s=10.0)
    maker.start()
    await asyncio.wait_for(resting.wait(), 5)
    monkeypatch.undo()
    assert slept == [4.0]
    await maker.stop()


async def test_without_a_target_nothing_is_made() -> None:
    """Where no spares are wanted no task runs."""
    slow = Slow()
    maker = _maker(slow, target=0)
    maker.start()
    await maker.stop()
    assert slow.asked == 0
