"""Engines that fail under a real gate and real workers: another worker, another pool, a sentence, an end."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.runtime.band_settings import BandSettings
from infra.runtime.kafka_log import LogReader
from schemas import topics
from schemas.errors import ErrorCode
from schemas.ids import TurnId
from schemas.records import TurnAllowed, TurnCompleted, TurnReturned, TurnStarted, UsageRecorded, WorkerReported
from schemas.turns import Reason
from stream_processors.enrichment.settings import FallbackSettings
from tests.inference_consumers.pool import POOL, Pool
from tests.stream_processors.enrichment.world import World, allowed, gate, new_conversation
from tests.support.contract import words
from tests.support.waiting import until

FAILS = {"PARLEY_SIMULATED_FAIL_RATE": "1"}
SMALL = "small"
SENTENCE = "Nobody can answer at the moment."


@dataclass
class House:
    """A gate with the topics of three pools; workers are started by the tests."""

    world: World
    pool: Pool

    async def owns(self, name: str, *, workers: int) -> list[WorkerReported]:
        """Wait until so many workers of the pool share its partitions."""

        async def ask() -> list[WorkerReported]:
            last = {r.worker: r for r in await self.pool.records(WorkerReported, topics.WORKERS) if r.pool == name}
            owned = sorted(number for report in last.values() for number in report.partitions)
            each = [report for report in last.values() if report.partitions]
            return each if owned == [0, 1] and len(each) == workers else []

        return await until(ask, limit_s=30)

    async def asked(self, text: str) -> TurnAllowed:
        """A turn that is on its way."""
        turn = allowed(new_conversation(), text)
        await self.world.ask(turn)
        return turn

    async def answered(self, text: str) -> TurnCompleted:
        """What became of a turn."""
        return await self.world.completed((await self.asked(text)).turn)

    async def claims(self, turn: TurnId | None) -> list[TurnStarted]:
        """The turn's claims in its log."""
        return await self.pool.records(TurnStarted, topics.LANES, turn)


@asynccontextmanager
async def _house(
    kafka: str, prefix: str, directory: Path, fallbacks: dict[str, FallbackSettings] | None = None
) -> AsyncIterator[House]:
    world = World(kafka, prefix)
    await world.start(with_workers=False, pools=(POOL, SMALL))
    reader = LogReader(world.kafka, "test")
    try:
        bands = {"standard": BandSettings(max_attempts=2)}
        async with gate(world, directory, bands=bands, fallbacks=fallbacks):
            yield House(world, Pool(world.kafka, world.appender, reader, world.admin))
    finally:
        await reader.stop()
        await world.stop()


async def test_a_turn_that_one_engine_fails_is_answered_by_another(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    """One worker's engine always fails: its turns go on elsewhere behind what was shown, and all texts are exact."""
    async with _house(kafka, topic_prefix, tmp_path) as house, house.pool.worker(**FAILS), house.pool.worker():
        await house.owns(POOL, workers=2)
        turns = [await house.asked(f"tokens: {number}") for number in range(20, 28)]
        ended = [await house.world.completed(turn.turn) for turn in turns]
        returned = {each.turn: each for each in await house.pool.records(TurnReturned, topics.TURNS)}
        claims = {turn: await house.claims(turn) for turn in returned}
    assert [(each.output_text, each.reason) for each in ended] == [
        (words(number), Reason.STOP) for number in range(20, 28)
    ]
    assert returned, "the keys of eight conversations all led to the same worker"
    for turn, back in returned.items():
        first, second = claims[turn]
        assert (back.failures, back.shown, back.worker) == (1, True, first.worker)
        assert second.worker != first.worker
        assert (second.dispatch, second.source.partition) == (2, 1 - first.source.partition)
    assert not any(each.degraded for each in ended)
    assert all(each.generated_tokens == each.delivered_tokens for each in ended)


async def test_a_pool_that_fails_falls_back_to_a_pool_then_to_a_sentence(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    """The smaller pool answers, marked; when nobody works there the sentence is said, marked, and costs nothing."""
    fallbacks = {POOL: FallbackSettings(pool=SMALL, sentence=SENTENCE)}
    silent = {**FAILS, "PARLEY_SIMULATED_FAULT_AFTER_TOKENS": "0"}
    async with (
        _house(kafka, topic_prefix, tmp_path, fallbacks) as house,
        house.pool.worker(**silent),
        house.pool.worker(pool=topics.CLOSING_POOL),
    ):
        async with house.pool.worker(pool=SMALL) as small:
            await house.owns(POOL, workers=1)
            await house.owns(SMALL, workers=1)
            answered = await house.answered("tokens: 9")
            small.signal(signal.SIGTERM)
            await small.ended()
        said = await house.answered("tokens: 9")
        claims = await house.claims(answered.turn)
        [usage] = await house.pool.records(UsageRecorded, topics.USAGE, said.turn)
    assert (answered.output_text, answered.reason, answered.pool) == (words(9), Reason.STOP, SMALL)
    assert (answered.degraded, answered.detail.error) == (True, None)
    assert [claim.degraded for claim in claims] == [False, False, True]
    assert (said.output_text, said.reason, said.pool) == (SENTENCE, Reason.STOP, topics.CLOSING_POOL)
    assert said.degraded
    assert said.detail.error is not None
    assert said.detail.error.code is ErrorCode.ENGINE_FAILED
    assert (usage.generated_tokens, usage.delivered_tokens, usage.reason) == (0, 0, Reason.STOP)


@pytest.mark.parametrize("has_fallback", [False, True])
async def test_a_pool_that_fails_behind_shown_text_ends_the_turn(
    kafka: str, topic_prefix: str, tmp_path: Path, *, has_fallback: bool
) -> None:
    """What was shown stays, nothing is joined to it, and the turn ends as failed with a clear error."""
    fallbacks = {POOL: FallbackSettings(pool=SMALL, sentence=SENTENCE)} if has_fallback else None
    async with (
        _house(kafka, topic_prefix, tmp_path, fallbacks) as house,
        house.pool.worker(**FAILS),
        house.pool.worker(pool=topics.CLOSING_POOL),
    ):
        ended = await house.answered("tokens: 30")
    assert (ended.output_text, ended.reason, ended.degraded) == (words(6), Reason.FAILED, False)
    assert ended.detail.error is not None
    assert ended.detail.error.code is ErrorCode.ENGINE_FAILED
    assert ended.detail.error.message == "the model failed to answer, 2 times in a row"
    assert (ended.generated_tokens, ended.delivered_tokens) == (6, 6)
