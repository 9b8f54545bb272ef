"""The official `openai` package against the whole pipeline: nothing of ours but the base URL and the key."""

from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.support.contract import words
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
async def client(pipeline: Pipeline) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{pipeline.base_url}/v1", api_key=pipeline.key, timeout=60) as made:
        yield made


@pytest.fixture
async def model(client: AsyncOpenAI) -> str:
    return (await client.models.list()).data[0].id


async def test_chat(client: AsyncOpenAI, model: str) -> None:
    """A chat completion answers the last message, whole and in chunks that add up to the same."""
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "tokens: 5"},
    ]
    whole = await client.chat.completions.create(model=model, messages=messages)
    assert whole.choices[0].message.content == words(5)
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 5
    stream = await client.chat.completions.create(
        model=model,
        messages=messages,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == words(5)
    assert chunks[-1].usage == whole.usage


async def test_a_thread_of_responses(client: AsyncOpenAI, model: str) -> None:
    """Responses follow one another in a conversation whose items tell all of it."""
    first = await client.responses.create(model=model, input="echo: one")
    second = await client.responses.create(model=model, input="echo: two", previous_response_id=first.id)
    assert (first.output_text, second.output_text) == ("one", "two")
    assert second.previous_response_id == first.id
    assert first.conversation is not None
    items = await client.conversations.items.list(first.conversation.id, order="asc")
    told = [item.to_dict()["content"][0]["text"] for item in items.data]  # type: ignore[index]
    assert told == ["echo: one", "one", "echo: two", "two"]
    assert (await client.responses.retrieve(second.id)).output_text == "two"


async def test_a_broken_stream_goes_on(client: AsyncOpenAI, model: str) -> None:
    """A stream that breaks in mid-answer is taken up behind its last event: nothing is missing, nothing comes twice."""
    stream = await client.responses.create(model=model, input="tokens: 60", stream=True)
    turn, last, answer = "", -1, ""
    async for event in stream:
        last = event.sequence_number
        if event.type == "response.created":
            turn = event.response.id
        if event.type == "response.output_text.delta":
            answer += event.delta
        if last > 20:
            break
    await stream.close()
    async for event in await client.responses.retrieve(turn, stream=True, starting_after=last):
        assert event.sequence_number > last
        last = event.sequence_number
        if event.type == "response.output_text.delta":
            answer += event.delta
    assert answer == words(60)


async def test_background_and_cancel(client: AsyncOpenAI, model: str) -> None:
    """A background response is known from the first moment, and stopped on request."""
    made = await client.responses.create(model=model, input="tokens: 4000", background=True)
    assert (await client.responses.retrieve(made.id)).status in {"queued", "in_progress"}
    cancelled = await client.responses.cancel(made.id)
    assert cancelled.status == "cancelled"
    assert words(4000).startswith(cancelled.output_text)


async def test_a_deleted_conversation_is_gone(client: AsyncOpenAI, model: str) -> None:
    """After its deletion neither the conversation nor its responses can be found."""
    made = await client.conversations.create(metadata={"about": "deletion"})
    answer = await client.responses.create(model=model, input="echo: gone", conversation=made.id)
    assert (await client.conversations.delete(made.id)).deleted
    for call in (client.conversations.retrieve(made.id), client.responses.retrieve(answer.id)):
        with pytest.raises(openai.NotFoundError):
            await call


async def test_a_resend_is_the_same_turn(client: AsyncOpenAI, model: str) -> None:
    """Under one idempotency key there is one turn, and one body."""
    headers = {"Idempotency-Key": "journey-1"}
    first = await client.responses.create(model=model, input="echo: once", extra_headers=headers)
    again = await client.responses.create(model=model, input="echo: once", extra_headers=headers)
    assert again.id == first.id
    with pytest.raises(openai.ConflictError):
        await client.responses.create(model=model, input="echo: twice", extra_headers=headers)
