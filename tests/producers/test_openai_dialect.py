"""The gateway spoken to by the official client, with real Kafka and Cassandra behind it and a scripted pipeline."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.producers.support.records import MODEL
from tests.producers.support.running import Running, running


@pytest.fixture
async def gateway(kafka: str, cassandra: tuple[str, int], topic_prefix: str, keyspace: str) -> AsyncIterator[Running]:
    async with running(kafka, cassandra, topic_prefix, keyspace) as started:
        yield started


@pytest.fixture
async def client(gateway: Running) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as made:
        yield made


async def test_one(client: AsyncOpenAI) -> None:
    """A response is answered."""
    made = await client.responses.create(model=MODEL, input="echo: one two three")
    assert made.output_text == "one two three"
