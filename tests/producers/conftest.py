"""One running gateway a session: starting one takes longer than most tests."""

import uuid
from collections.abc import AsyncIterator

import pytest_asyncio
from aiohttp import ClientSession
from openai import AsyncOpenAI

from tests.producers.support.running import Running, running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(kafka: str, cassandra: tuple[str, int]) -> AsyncIterator[Running]:
    """A gateway with its own topics and tables."""
    name = uuid.uuid4().hex[:10]
    async with running(kafka, cassandra, f"t{name}.", f"t{name}") as started:
        yield started


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(gateway: Running) -> AsyncIterator[AsyncOpenAI]:
    """The official client, without its own retries."""
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def http(gateway: Running) -> AsyncIterator[ClientSession]:
    """A plain client with the same key."""
    headers = {"Authorization": f"Bearer {gateway.key}"}
    async with ClientSession(gateway.url, headers=headers) as session:
        yield session
