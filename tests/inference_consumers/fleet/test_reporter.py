"""A worker's line in the fleet."""

from dataclasses import replace

from inference_consumers.fleet.reporter import Reporter
from schemas import topics
from schemas.records import WorkerReported
from tests.inference_consumers.pool import Pool
from tests.support.samples import sample
from tests.support.waiting import until


async def test_it_reports_and_leaves_a_tombstone(pool: Pool) -> None:
    """Reports come while it lives, its gauges are set with each, and the last record is a tombstone."""
    report: WorkerReported = replace(sample(WorkerReported), worker="w1")
    beside: list[bool] = []
    reporter = Reporter(pool.appender, lambda: report, lambda: beside.append(True))
    reporter.start()

    async def told() -> list[WorkerReported]:
        return await pool.records(WorkerReported, topics.WORKERS)

    assert (await until(told))[0] == report
    await reporter.stop()
    await reporter.stop()
    entries = await pool.reader.read_all(topics.WORKERS, 0, 0)
    assert (entries[-1].key, entries[-1].value) == (b"w1", None)
    assert beside


async def test_who_never_reported_leaves_nothing(pool: Pool) -> None:
    """A reporter that was not started writes no tombstone."""
    await Reporter(pool.appender, lambda: sample(WorkerReported), lambda: None).stop()
    assert (await pool.reader.bounds(topics.WORKERS, 0))[1] == 0
