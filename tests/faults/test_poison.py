"""A turn that kills every worker that runs it, among turns that don't."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inference_consumers.claims.deaths import Toll
from inference_consumers.claims.procedure import LogView
from schemas.errors import ErrorCode
from schemas.records import TurnDispatched
from schemas.turns import Reason
from tests.inference_consumers.pool import Pool, dispatch_of, open_pool
from tests.support.contract import words

POISON = {
    "PARLEY_SIMULATED_POISON_TEXT": "arsenic",
    "PARLEY_SIMULATED_FAULT_AFTER_TOKENS": "0",
    "PARLEY_SIMULATED_TOKENS_PER_S": "60",
}
# Four deaths, each a leaving, a rebalance and a new process of two seconds on a busy machine.
END_S = 120.0


@asynccontextmanager
async def _supervised(pool: Pool, count: int) -> AsyncIterator[list[int]]:
    """So many workers, each begun again when it dies; the exit statuses of those that did."""
    statuses: list[int] = []
    started = asyncio.Semaphore(0)

    async def keep() -> None:
        while True:
            async with pool.worker(**POISON) as worker:
                started.release()
                statuses.append(await worker.process.wait())

    tasks = [asyncio.create_task(keep()) for _ in range(count)]
    try:
        for _ in tasks:
            await started.acquire()
        yield statuses
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _toll(pool: Pool, turn: TurnDispatched) -> Toll:
    assert turn.turn is not None
    view = LogView.begin(turn.turn, 0)
    for offset, record in await pool.log(turn):
        view.take(offset, record)
    assert view.fold.claim is not None
    return view.deaths.toll(view.fold.claim.worker)


async def test_poison_ends_alone_and_the_others_are_answered(kafka: str, topic_prefix: str) -> None:
    """Two deaths in company, then as many alone as its tier allows: it ends as failed, and nobody else is harmed."""
    async with open_pool(kafka, topic_prefix) as pool, _supervised(pool, 2) as statuses:
        innocents = [dispatch_of(f"tokens: {number}", deadline_s=300) for number in range(200, 210)]
        poison = dispatch_of("echo: arsenic", deadline_s=300, max_attempts=2)
        for number, turn in enumerate(innocents):
            await pool.dispatch(turn, partition=number % 2)
        for turn in innocents:
            await pool.shown(turn)
        await pool.dispatch(poison, partition=0)
        fold = await pool.ended(poison, limit_s=END_S)
        assert fold.ended is not None
        assert fold.ended.error is not None
        assert (fold.ended.reason, fold.ended.error.code) == (Reason.FAILED, ErrorCode.ENGINE_FAILED)
        assert await _toll(pool, poison) == Toll(deaths=4, alone=2)
        folds = [await pool.ended(turn, limit_s=END_S) for turn in innocents]
        assert [each.text for each in folds] == [words(number) for number in range(200, 210)]
        assert [each.ended.reason for each in folds if each.ended] == [Reason.STOP] * 10
        assert all([(await _toll(pool, turn)).alone == 0 for turn in innocents])
        assert statuses == [1] * 4
        late = dispatch_of("tokens: 5")
        await pool.dispatch(late, partition=0)
        assert (await pool.ended(late)).text == words(5)
