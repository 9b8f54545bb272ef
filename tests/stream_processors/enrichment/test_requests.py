import asyncio

import pytest

from infra.runtime.kafka_log import LogReader
from schemas import topics
from schemas.errors import InvariantBroken, KafkaUnavailable
from stream_processors.enrichment.requests import NotAtHand, Requests
from tests.stream_processors.enrichment.world import World, allowed, new_conversation


def test_memory_is_bounded_in_bytes() -> None:
    """The oldest requests go first when too many bytes are kept; what was dropped is not at hand."""
    requests = Requests(None, max_bytes=10_000)  # type: ignore[arg-type]
    record = allowed(new_conversation(), "x")
    for offset in range(4):
        requests.keep(0, offset, record, 1_000)
    with pytest.raises(NotAtHand):
        requests.at_hand(0, 0)
    assert requests.at_hand(0, 3) is record
    requests.drop(0, 3)
    with pytest.raises(NotAtHand):
        requests.at_hand(0, 3)


async def test_what_is_not_at_hand_is_read_again(world: World) -> None:
    """A request is found at its offset in chat.moderated, by whoever needs it; another record there is a bug."""
    reader = LogReader(world.kafka, "test")
    requests = Requests(reader)
    record = allowed(new_conversation(), "hello")
    placed = await world.appender.append(topics.MODERATED, record)
    with pytest.raises(NotAtHand) as missing:
        requests.at_hand(placed.partition, placed.offset)
    await missing.value.fetch()
    assert requests.at_hand(placed.partition, placed.offset) == record
    wrong = await world.appender.append_bytes(topics.MODERATED, b"{}", key=b"k")
    with pytest.raises(InvariantBroken):
        await requests.fetch(wrong.partition, wrong.offset)
    await reader.stop()


async def test_what_is_away_is_fetched_until_it_is_there() -> None:
    """Brokers that are away are asked again; a bug is handed on at once."""
    answers: list[Exception | None] = [KafkaUnavailable("away"), KafkaUnavailable("away"), None]
    asked = 0

    async def fetch() -> None:
        nonlocal asked
        asked += 1
        answer = answers[asked - 1]
        if answer is not None:
            raise answer

    async with asyncio.timeout(10):
        await NotAtHand(fetch).fetched()
    assert asked == 3
    answers.append(InvariantBroken("another record"))
    with pytest.raises(InvariantBroken):
        await NotAtHand(fetch).fetched()
    assert asked == 4
