"""Processes frozen past their session and thawed beside their successors: nothing they still do is seen or counted."""

import pytest

from infra.runtime.kafka_settings import KafkaSettings
from tests.faults.conftest import SHORTENED, Scene
from tests.support.answers import Running, running
from tests.support.asking import Asker
from tests.support.groups import until_members
from tests.support.successor import frozen, successor
from tests.support.waiting import until
from tests.support.workers import busiest

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("role", ["moderation", "persistence"])
async def test_frozen_processor(scene: Scene, role: str) -> None:
    """Its successor does its work meanwhile; what the thawed one says again is the same and is counted once."""
    kafka = KafkaSettings(bootstrap=scene.kafka.node.address)
    group = f"parley-{role}"
    zombie = scene.pipeline.process(role)["pid"]
    asker = Asker(scene.pipeline, every_s=0.1)
    async with successor(scene.pipeline, role, **SHORTENED):
        before = await until_members(kafka, group, 2)
        async with asker.asking():
            with frozen(zombie):
                await until_members(kafka, group, 1)
            both = await until_members(kafka, group, 2)
        assert len(before & both) == 1, "the successor stayed; the thawed one was expelled and came back as another"
        await scene.counted_once(asker.accepted)
    await until_members(kafka, group, 1)


async def test_frozen_worker(scene: Scene) -> None:
    """A worker frozen past its session loses its turns to another; what it writes when it thaws is dropped by all."""
    async with running(scene.pipeline, answers=4, count=400) as answers:
        with frozen(await busiest(scene.pipeline, len(answers))):
            await until(lambda: _is_taken_over(answers), limit_s=30)
        await until_members(KafkaSettings(bootstrap=scene.kafka.node.address), "parley-inference-default", 2)
    await scene.counted_once([each.turn for each in answers])


async def _is_taken_over(answers: list[Running]) -> bool:
    return any(attempt > 1 for each in answers for attempt, _at in each.socket.seen.claims)
