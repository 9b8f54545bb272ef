"""Fixtures of the gate's tests on real Kafka."""

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.stream_processors.enrichment.world import World, gate


@pytest.fixture
async def world(kafka: str, topic_prefix: str) -> AsyncIterator[World]:
    """Topics, workers and eyes under a prefix of the test's own; no gate."""
    made = World(kafka, topic_prefix)
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A world with a gate that all tests of a module share: each keeps to conversations of its own."""
    made = World(kafka, f"t{uuid.uuid4().hex[:10]}.")
    await made.start()
    async with gate(made, tmp_path_factory.mktemp("gate")) as service:
        yield made
        assert service._broken is not None
        assert not service._broken.done(), service._broken
    await made.stop()
