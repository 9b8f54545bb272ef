"""One scene a test: topics of its own on the session's brokers."""

from collections.abc import AsyncIterator, Iterator

import pytest

from infra.runtime.kafka_log import Fetched, LogReader
from tests.delivery.scene import Scene, open_scene
from tests.delivery.tables import migrated
from tests.support.brokers import LoopThread


@pytest.fixture(scope="session")
def tables(cassandra: tuple[str, int], broker_loop: LoopThread) -> Iterator[str]:
    """A migrated keyspace for all tests of delivery: each talks about conversations of its own."""
    with migrated(cassandra, broker_loop) as keyspace:
        yield keyspace


@pytest.fixture
async def scene(kafka: str, cassandra: tuple[str, int], topic_prefix: str, tables: str) -> AsyncIterator[Scene]:
    """What a test of delivery has at hand."""
    async with open_scene(kafka, cassandra, topic_prefix, tables) as opened:
        yield opened


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records each fetch for a reader brought; those that read lanes back are not counted."""
    counts: list[int] = []
    fetch = LogReader.fetch

    async def counting(
        self: LogReader, topic: str, partition: int, position: int, *, max_bytes: int = 1 << 20
    ) -> Fetched:
        found = await fetch(self, topic, partition, position, max_bytes=max_bytes)
        if self._client_id == "parley-delivery-log":
            counts.append(len(found.entries))
        return found

    monkeypatch.setattr(LogReader, "fetch", counting)
    return counts
