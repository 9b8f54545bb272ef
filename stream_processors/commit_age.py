"""`parley_commit_age_seconds`: how long records have waited for a commit, per partition, against the last record.

Lag alone doesn't tell a consumer that is stuck from a busy one; Faust has bugs that stop its commits for good.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from infra.runtime.metrics import Metrics

_EVERY_S: Final = 1.0


class Owner(Protocol):
    """Who consumes."""

    def assignment(self) -> Sequence[Any]:
        """Its partitions, each with `topic` and `partition`."""

    def committed_and_end(self, partition: Any) -> tuple[int, int] | None:
        """The committed offset and the partition's end; None as long as they aren't known."""


class CommitAge:
    """Looks at an owner's partitions every second.

    Args:
        group: without the prefix, as `prefix` is taken off topics.
    """

    def __init__(self, metrics: Metrics, group: str, owner: Owner, prefix: str) -> None:
        self._gauge = metrics.gauge("parley_commit_age_seconds")
        self._group = group
        self._owner = owner
        self._prefix = prefix
        self._last: dict[tuple[str, int], tuple[int, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name=f"commit age of {self._group}")

    async def stop(self) -> None:
        """Look no more. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            self.look(time.monotonic())
            await asyncio.sleep(_EVERY_S)

    def look(self, now_s: float) -> None:
        """Set the gauge of every owned partition and drop those of others."""
        owned = {(each.topic.removeprefix(self._prefix), each.partition): each for each in self._owner.assignment()}
        for gone in self._last.keys() - owned.keys():
            del self._last[gone]
            self._gauge.remove(self._group, gone[0], str(gone[1]))
        for (topic, partition), each in owned.items():
            committed, end = self._owner.committed_and_end(each) or (0, 0)
            before, since_s = self._last.get((topic, partition), (committed, now_s))
            # Progress is a commit, however much is left: a busy partition always has some.
            if committed >= end or committed > before:
                since_s = now_s
            self._last[topic, partition] = (committed, since_s)
            self._gauge.labels(self._group, topic, str(partition)).set(now_s - since_s)
