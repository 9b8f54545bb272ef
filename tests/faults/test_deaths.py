"""Each process on a turn's way killed in mid-answer: the readers come back by themselves and miss nothing."""

import os
import signal

import pytest

from tests.faults.conftest import Scene
from tests.support.answers import running
from tests.support.asking import Asker
from tests.support.waiting import until
from tests.support.workers import busiest

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("role", ["gateway", "delivery", "inference", "moderation", "enrichment", "persistence"])
async def test_killed_in_mid_answer(scene: Scene, role: str) -> None:
    """A SIGKILL changes no word of the answers that run, and turns asked for meanwhile are counted once."""
    asker = Asker(scene.pipeline)
    # Workers tell their load once a second: an answer must last until then.
    count = 400 if role == "inference" else 60
    async with running(scene.pipeline, answers=4, count=count) as answers:
        if role == "inference":
            pid = await busiest(scene.pipeline, len(answers))
        else:
            pid = scene.pipeline.process(role)["pid"]
        os.kill(pid, signal.SIGKILL)
        for _ in range(3):
            await until(lambda: _is_accepted(asker), limit_s=30)
    await scene.counted_once([*asker.accepted, *(each.turn for each in answers)])
    if role == "inference":
        attempts = [attempt for each in answers for attempt, _at in each.socket.seen.claims]
        assert max(attempts) >= 2, "it had something to be taken over"


async def _is_accepted(asker: Asker) -> bool:
    return (await asker.ask()).status == 200


async def test_graceful_stop_of_a_worker(scene: Scene) -> None:
    """SIGTERM in mid-answer: the worker leaves by itself, another one goes on, and no token is made twice."""
    async with running(scene.pipeline, answers=4, count=400) as answers:
        pid = await busiest(scene.pipeline, len(answers))
        os.kill(pid, signal.SIGTERM)
        await until(lambda: _is_gone(pid), limit_s=30)
    kept = await scene.counted_once([each.turn for each in answers])
    bills = [bill for found in kept.bills.values() for bill in found]
    assert {bill.regenerated_tokens for bill in bills} == {0}
    assert max(bill.attempts for bill in bills) >= 2, "it had something to hand over"


async def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
