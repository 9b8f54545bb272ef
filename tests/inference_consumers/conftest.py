"""One pool a test, on a real Kafka."""

from collections.abc import AsyncIterator

import pytest

from tests.inference_consumers.pool import Pool, open_pool


@pytest.fixture
async def pool(kafka: str, topic_prefix: str) -> AsyncIterator[Pool]:
    """The topics of the pools `default` and `closing` under a prefix of their own."""
    async with open_pool(kafka, topic_prefix) as opened:
        yield opened
