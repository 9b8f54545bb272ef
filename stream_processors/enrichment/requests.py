"""The words of open turns: TurnAllowed and TurnRefused as they stand in `chat.moderated`, remembered or read again.

A state holds only the offset. What was read a moment ago is in memory, bounded in bytes; the rest is one fetch away.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from infra.runtime.kafka_log import LogReader
from schemas import codec, topics
from schemas.errors import ContractError, DependencyError, InvariantBroken
from schemas.records import Record, TurnAllowed, TurnRefused
from stream_processors.enrichment.composing import Request
from stream_processors.enrichment.reading import salvaged

log = logging.getLogger(__name__)

# 64 MiB: some ten thousand requests of a chat, or eighty of the largest that the gateway lets in.
_MAX_BYTES: Final = 64 * 1024 * 1024
_OVERHEAD_BYTES: Final = 2_000
_BACKOFF_S: Final = 0.2


class NotAtHand(Exception):
    """Something that a step needs isn't in memory: whoever catches this waits until it is, then begins again."""

    def __init__(self, fetch: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self.fetch = fetch

    async def fetched(self) -> None:
        """It is at hand, however often it had to be fetched. Raises what `fetch` does but DependencyError."""
        while True:
            try:
                await self.fetch()
                return
            except DependencyError as error:
                log.warning("fetching what an input needs: %s; trying again", error)
                await asyncio.sleep(_BACKOFF_S)


def _decoded(raw: bytes) -> Record | None:
    try:
        return codec.decode(raw)
    except ContractError:
        return salvaged(raw)


class Requests:
    """By partition and offset of `chat.moderated`. What is pinned by the caller is the caller's."""

    def __init__(self, reader: LogReader, max_bytes: int = _MAX_BYTES) -> None:
        self._reader = reader
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[int, int], tuple[Request, int]] = OrderedDict()
        self._bytes = 0

    def keep(self, partition: int, offset: int, record: Request, size: int) -> None:
        """Remember a record that was just read."""
        if (partition, offset) in self._kept:
            return
        self._kept[partition, offset] = (record, size + _OVERHEAD_BYTES)
        self._bytes += size + _OVERHEAD_BYTES
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._bytes -= oldest

    def drop(self, partition: int, offset: int) -> None:
        """The turn has ended."""
        found = self._kept.pop((partition, offset), None)
        if found is not None:
            self._bytes -= found[1]

    def at_hand(self, partition: int, offset: int) -> Request:
        """The record. Raises NotAtHand."""
        found = self._kept.get((partition, offset))
        if found is None:
            raise NotAtHand(lambda: self.fetch(partition, offset))
        return found[0]

    async def fetch(self, partition: int, offset: int) -> Request:
        """The record, read again if it must be.

        Raises:
            KafkaUnavailable: the brokers are away.
            InvariantBroken: another record stands there.
        """
        found = self._kept.get((partition, offset))
        if found is not None:
            return found[0]
        async for entry in self._reader.read(topics.MODERATED, partition, offset, offset + 1):
            record = _decoded(entry.value or b"")
            if entry.offset == offset and isinstance(record, TurnAllowed | TurnRefused):
                self.keep(partition, offset, record, len(entry.value or b""))
                return record
        raise InvariantBroken(f"{topics.MODERATED}/{partition} holds no request at {offset}")
