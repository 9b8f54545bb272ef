"""`/v1/models` spoken to by the official client."""

import openai
import pytest
from openai import AsyncOpenAI

from tests.producers.support.records import MODEL

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_models(client: AsyncOpenAI) -> None:
    """Models are listed with their length; the closing pool is none of them."""
    listed = await client.models.list()
    assert [model.id for model in listed.data] == [MODEL]
    one = await client.models.retrieve(MODEL)
    assert one.to_dict()["max_model_len"] == 2048
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-4")
    with pytest.raises(openai.NotFoundError) as refused:
        await client.responses.create(model="gpt-4", input="hi")
    assert refused.value.param == "model"
