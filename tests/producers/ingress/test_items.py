"""Pages of items, by the official client."""

import pytest
from openai import AsyncOpenAI

from tests.producers.support.records import MODEL

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_items_pages(client: AsyncOpenAI) -> None:
    """Pages of items follow one another without a gap or a repeat, in either order, whatever their size."""
    made = await client.conversations.create()
    for number in range(4):
        await client.responses.create(model=MODEL, input=f"echo: {number}", conversation=made.id)
    for order in ("asc", "desc"):
        whole = [
            item.to_dict()["id"] async for item in client.conversations.items.list(made.id, order=order, limit=100)
        ]
        assert len(whole) == 8
        for limit in (1, 2, 3, 5):
            paged = [
                item.to_dict()["id"]
                async for item in client.conversations.items.list(made.id, order=order, limit=limit)
            ]
            assert paged == whole
