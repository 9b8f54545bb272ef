"""`/v1/chat/completions` spoken to by the official client."""

import asyncio

import openai
import pytest
from aiohttp import ClientSession
from openai import AsyncOpenAI

from tests.producers.support.errors import told
from tests.producers.support.records import MODEL
from tests.producers.support.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_chat(client: AsyncOpenAI, gateway: Running) -> None:
    """A chat completion is one turn with the client's own history, and isn't stored."""
    made = await client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "developer", "content": "be kind"},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": [{"type": "text", "text": "echo: one two"}]},
        ],
        n=1,
        tools=[],
        logprobs=False,
    )
    assert made.id.startswith("chatcmpl-")
    assert made.choices[0].message.content == "one two"
    assert made.choices[0].finish_reason == "stop"
    assert made.usage is not None
    assert made.usage.total_tokens == 9
    asked = gateway.pipeline.requests[-1].request
    assert (asked.instructions, [each.text for each in asked.history]) == ("be kind", ["hi", "hello"])
    assert (asked.stored, asked.log.topic) == (False, "conversations.unstored")
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(f"resp_{made.id[9:]}")


async def test_chat_stream(client: AsyncOpenAI) -> None:
    """Chunks begin with the role, end with the finish reason, and tell the usage when asked."""
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "echo: one two"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_chat_refused(client: AsyncOpenAI) -> None:
    """A refused chat completion is HTTP 200 with the policy's sentence as content."""
    made = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "refuse"}])
    assert made.choices[0].finish_reason == "content_filter"
    assert made.choices[0].message.content == "We don't talk about this."


async def test_chat_failed(client: AsyncOpenAI) -> None:
    """A failed chat completion is an error with a status, and in a stream that has begun an error event."""
    for script, status, code in (("fail", 500, "engine_failed"), ("expire", 503, "deadline")):
        with pytest.raises(openai.InternalServerError) as failed:
            await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": script}])
        assert (failed.value.status_code, failed.value.code) == (status, code)
        assert failed.value.response.headers["x-should-retry"] == "false"
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": script}], stream=True
        )
        with pytest.raises(openai.APIError) as failure:
            async for _ in stream:
                pass
        assert failure.value.code == code


async def test_idempotency_key_at_once(client: AsyncOpenAI) -> None:
    """Of two bodies under one key at the same time one is the turn, and the other is refused."""
    headers = {"Idempotency-Key": "race-1"}
    results = await asyncio.gather(
        *(
            client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": f"echo: {word}"}], extra_headers=headers
            )
            for word in ("left", "right")
        ),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in results) == ["ChatCompletion", "ConflictError"]


async def test_no_json(http: ClientSession) -> None:
    """A body that is no JSON is refused with OpenAI's body."""
    async with http.post("/v1/chat/completions", data=b"{") as answer:
        assert await told(answer) == (400, "invalid_request", None)


async def test_an_unstored_turn_is_made_once_under_a_key(gateway: Running, http: ClientSession) -> None:
    """A resend is answered from the log of what isn't stored; stored and unstored under one key are two bodies."""
    body = {"messages": [{"role": "user", "content": "echo: once only"}]}
    key = {"Idempotency-Key": "unstored-1"}
    async with http.post("/v1/chat/completions", json=body, headers=key) as answer:
        made = await answer.json()
    count, follows = len(gateway.pipeline.requests), len(gateway.delivery.subscribed)
    async with http.post("/v1/chat/completions", json=body, headers=key) as answer:
        assert (await answer.json()) == made
    async with http.post("/v1/chat/completions", json={**body, "stream": True}, headers=key) as answer:
        text = await answer.text()
    assert "once" in text
    assert text.endswith("data: [DONE]\n\n")
    assert (len(gateway.pipeline.requests), len(gateway.delivery.subscribed)) == (count, follows)
    async with http.post("/v1/chat/completions", json={**body, "store": True}, headers=key) as answer:
        assert answer.status == 409
    stored = {"Idempotency-Key": "stored-1"}
    async with http.post("/v1/chat/completions", json={**body, "store": True}, headers=stored) as answer:
        assert answer.status == 200
    async with http.post("/v1/chat/completions", json=body, headers=stored) as answer:
        assert answer.status == 409
