"""This worker's line in `fleet.status`: every second while it lives, a tombstone when it leaves."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from infra.runtime.kafka import Appender
from schemas import topics
from schemas.errors import DependencyError
from schemas.records import WorkerReported

log = logging.getLogger(__name__)

_EVERY_S: Final = 1.0
_TOMBSTONE_S: Final = 2.0


class Reporter:
    """Reports until stopped.

    Args:
        describe: the report as of now.
        beside: called with each report: gauges that are set once a second.
    """

    def __init__(self, appender: Appender, describe: Callable[[], WorkerReported], beside: Callable[[], None]) -> None:
        self._appender = appender
        self._describe = describe
        self._beside = beside
        self._task: asyncio.Task[None] | None = None
        self._worker: str | None = None

    def start(self) -> None:
        """Begin to report."""
        self._task = asyncio.create_task(self._run(), name="fleet report")

    async def stop(self) -> None:
        """Write the tombstone, so that nobody waits for the silence to be noticed. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait({task})
        if self._worker is None:
            return
        try:
            async with asyncio.timeout(_TOMBSTONE_S):
                await self._appender.tombstone(topics.WORKERS, self._worker)
        except (DependencyError, TimeoutError) as error:
            log.warning("leaving without a tombstone: %s", error)

    async def _run(self) -> None:
        while True:
            report = self._describe()
            self._worker = report.worker
            self._beside()
            try:
                await self._appender.append(topics.WORKERS, report)
            except DependencyError as error:
                log.warning("the fleet was not told: %s", error)
            await asyncio.sleep(_EVERY_S)
