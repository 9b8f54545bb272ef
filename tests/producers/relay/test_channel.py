import asyncio

import pytest

from producers.relay.channel import Channel, ChannelReader
from producers.relay.port import DeliveryUnavailable
from schemas import codec
from schemas.records import Record, TurnDelta
from tests.producers.support import records
from tests.producers.support.asked import TURN, requested

ASKED = requested()


def _event(record: Record) -> dict[str, object]:
    return dict(codec.parse(codec.encode(record)))


def _channel() -> Channel:
    return Channel(TURN, ASKED.request.log)


async def test_every_follower_reads_from_the_beginning() -> None:
    """Who comes later reads what was there before, then the same live events."""
    channel = _channel()
    closed: list[Channel] = []
    first = ChannelReader(channel, closed.append)
    channel.take(_event(records.accepted(ASKED)), "p1")
    second = ChannelReader(channel, closed.append)
    channel.take(_event(records.started(ASKED)), "p2")
    assert len(await first.next(1)) == len(await second.next(1)) == 2
    assert channel.position == "p2"
    first.close()
    first.close()
    assert (channel.followers, len(closed)) == (1, 1)


async def test_silence_is_empty() -> None:
    """When nothing comes in time there is nothing."""
    assert await ChannelReader(_channel(), lambda _: None).next(0.01) == ()


async def test_a_waiting_reader_is_woken() -> None:
    """An event wakes whoever waits for it."""
    channel = _channel()
    waiting = asyncio.create_task(ChannelReader(channel, lambda _: None).next(5))
    await asyncio.sleep(0)
    channel.take(_event(records.accepted(ASKED)), "p1")
    assert len(await waiting) == 1


async def test_repeats_are_dropped_and_overlaps_cut() -> None:
    """After a reconnect without a position only what is new is handed on."""
    channel = _channel()
    reader = ChannelReader(channel, lambda _: None)
    for record in (records.accepted(ASKED), records.started(ASKED), records.delta(ASKED, 0, "a")):
        channel.take(_event(record), "p")
    merged = {**_event(records.delta(ASKED, 0, "ab")), "tokens": 2, "last_seq": 1}
    channel.take(_event(records.accepted(ASKED)), "p")
    channel.take(merged, "p")
    texts = [record.text for record, _ in await reader.next(1) if isinstance(record, TurnDelta)]
    assert texts == ["a", "b"]


async def test_a_failed_channel_says_so_behind_its_events() -> None:
    """What came before the failure is still read."""
    channel = _channel()
    reader = ChannelReader(channel, lambda _: None)
    channel.take(_event(records.accepted(ASKED)), "p")
    channel.fail(DeliveryUnavailable("going"))
    assert len(await reader.next(1)) == 1
    with pytest.raises(DeliveryUnavailable):
        await reader.next(1)


async def test_unknown_types_are_ignored() -> None:
    """Events that this program doesn't know change nothing."""
    channel = _channel()
    channel.take({"type": "turn.painted", "turn": TURN}, "p9")
    assert channel.position is None
