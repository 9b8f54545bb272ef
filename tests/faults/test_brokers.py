"""Kafka and Cassandra frozen, killed and back again, under answers that run and clients that go on asking."""

import asyncio
import uuid

import pytest

from tests.faults.conftest import Scene
from tests.support.answers import running
from tests.support.asking import Answer, Asker
from tests.support.contract import conversation_of
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(240)


async def _refused(asker: Asker, count: int = 1) -> list[Answer]:
    """Wait for answers that say 503."""

    async def ask() -> list[Answer]:
        found = [answer for answer in asker.answers if answer.status == 503]
        return found if len(found) >= count else []

    return await until(ask, limit_s=30)


async def _accepted(asker: Asker, key: str | None = None) -> None:
    """Wait until a request that is made from now on is accepted."""

    async def ask() -> bool:
        return (await asker.ask(key)).status == 200

    await until(ask, limit_s=60)


@pytest.mark.parametrize("fault", ["frozen", "killed"])
async def test_kafka_away(scene: Scene, fault: str) -> None:
    """While Kafka is away requests get 503 with Retry-After; it comes back, all goes on by itself, nothing is lost."""
    asker = Asker(scene.pipeline, every_s=0.5)
    keyed = Asker(scene.pipeline)
    key = uuid.uuid4().hex
    async with running(scene.pipeline, answers=2, count=200) as answers:
        async with asker.asking():
            async with scene.kafka.frozen() if fault == "frozen" else scene.kafka.killed():
                asked_meanwhile = asyncio.create_task(keyed.ask(key))
                refused = await _refused(asker, count=4)
            await _accepted(asker)
        # Whatever the one was told that was asked meanwhile: under its key it is the same turn.
        await asked_meanwhile
        await _accepted(keyed, key)
        await _accepted(keyed, key)
    assert all(answer.retry_after is not None and int(answer.retry_after) >= 1 for answer in refused)
    assert {answer.status for answer in asker.answers} == {200, 503}
    assert len(keyed.accepted) == 1
    await scene.counted_once([*asker.accepted, *keyed.accepted, *(each.turn for each in answers)])


async def test_store_away(scene: Scene) -> None:
    """With Cassandra dead a conversation that the gate knows is answered as ever; its rows are there afterwards."""
    first = Asker(scene.pipeline)
    begun = await first.ask()
    assert begun.turn is not None
    known = Asker(scene.pipeline, conversation=conversation_of(begun.turn))
    await scene.counted_once(first.accepted)
    async with scene.cassandra.killed(), running(scene.pipeline, answers=2, count=40) as answers:
        for _ in range(3):
            await known.ask()
    assert [answer.status for answer in known.answers] == [200, 200, 200]
    await scene.counted_once([*first.accepted, *known.accepted, *(each.turn for each in answers)])
