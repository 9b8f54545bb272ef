"""The indexes of the lanes that a node tails: begun with the tail, and read back in the background.

A node serves without what is read back: until then a place before its start is searched for in the lane itself.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from delivery.history.port import LogRanges
from delivery.hub.lane_index import IndexBounds, LaneIndex
from infra.runtime.kafka_client import RangeGone
from schemas.errors import DependencyError
from schemas.turns import LogAddress

# Reading back takes no more than half of the loop: after so many records it rests for as long as they took.
_CHUNK: Final = 500
_BACKOFF_S: Final = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What a node remembers of its lanes.

    Args:
        bounds: of one lane.
        rebuild_records: of one lane that are read back, at most.
    """

    bounds: IndexBounds
    rebuild_records: int


@dataclass(frozen=True, slots=True)
class _Begun:
    address: LogAddress
    index: LaneIndex
    end: int


class Lanes:
    """Makes indexes, and reads back what was said before them.

    Args:
        ranges: reads the lanes; large reads, so not the ones that readers wait for.
        wall_ms: the clock.
    """

    def __init__(self, ranges: LogRanges, remembered: Remembered, wall_ms: Callable[[], int]) -> None:
        self._ranges = ranges
        self._remembered = remembered
        self._wall_ms = wall_ms
        self._begun: asyncio.Queue[_Begun] = asyncio.Queue()

    def begin(self, address: LogAddress, end: int) -> LaneIndex:
        """The index of a lane that is tailed from `end` on."""
        index = LaneIndex(end, self._remembered.bounds, time.monotonic())
        self._begun.put_nowait(_Begun(address, index, end))
        return index

    async def read_back(self) -> None:
        """Read back one lane after the other, for ever; one that can't be read now comes behind the others."""
        while True:
            begun = await self._begun.get()
            try:
                await self._rebuild(begun)
            except DependencyError as error:
                log.warning("reading a lane back: %s", error, extra=_place(begun.address))
                self._begun.put_nowait(begun)
                await asyncio.sleep(_BACKOFF_S)
            finally:
                self._begun.task_done()

    async def are_known(self) -> None:
        """Wait until every lane that was begun is read back."""
        await self._begun.join()

    async def _rebuild(self, begun: _Begun) -> None:
        while True:
            try:
                earlier = await self._earlier(begun)
            except RangeGone:
                continue  # retention took the beginning away while it was read: there is a new one
            begun.index.put_before(earlier)
            return

    async def _earlier(self, begun: _Begun) -> LaneIndex:
        """The index of what lies before; of as much as the bound allows, the newest."""
        bounds, now_s = replace(self._remembered.bounds, recent_bytes=0), time.monotonic()
        topic, partition = begun.address.topic, begun.address.partition
        since_ms = self._wall_ms() - int(self._remembered.bounds.window_s * 1000)
        beginning = await self._ranges.beginning(topic, partition)
        if await self._ranges.end(topic, partition) < begun.end:
            return LaneIndex(begun.end, bounds, now_s)  # another log than the one that was begun: the tail will lose it
        since = max(
            beginning,
            begun.end - self._remembered.rebuild_records,
            await self._ranges.offset_at(topic, partition, since_ms),
        )
        earlier = LaneIndex(since, bounds, now_s)
        read, rested_at = 0, now_s
        if since < begun.end:
            async for entry in self._ranges.read(topic, partition, since, begun.end):
                if entry.key is not None:
                    earlier.saw(entry.key, entry.offset, b"")
                # How old a record is was looked up; here the clock stands, and only the bound lets go.
                earlier.forget(entry.offset + 1, now_s)
                read += 1
                if read % _CHUNK == 0:
                    await asyncio.sleep(time.monotonic() - rested_at)
                    rested_at = time.monotonic()
            earlier.forget(begun.end, now_s)
        return earlier


def _place(address: LogAddress) -> dict[str, object]:
    return {"topic": address.topic, "partition": address.partition}
