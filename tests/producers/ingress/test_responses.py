"""`/v1/responses` spoken to by the official client, with real Kafka and Cassandra behind it and a scripted pipeline."""

from typing import Any

import openai
import pytest
from aiohttp import ClientSession
from openai import AsyncOpenAI

from schemas import ids
from tests.producers.support.errors import told
from tests.producers.support.records import MODEL
from tests.producers.support.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_response(client: AsyncOpenAI) -> None:
    """A response is answered whole, with usage, ids of the contract and what was asked."""
    made = await client.responses.create(
        model=MODEL,
        input="echo: one two three",
        instructions="be brief",
        metadata={"a": "b"},
        temperature=0.5,
        user="anna",
    )
    assert made.output_text == "one two three"
    assert made.status == "completed"
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (7, 3, 10)
    assert made.usage.input_tokens_details.cached_tokens == 2
    assert (made.instructions, made.metadata, made.temperature, made.user) == ("be brief", {"a": "b"}, 0.5, "anna")
    turn = ids.parse_turn(made.id)
    assert made.output[0].id == ids.output_item_id(turn)
    assert made.conversation is not None
    assert made.conversation.id == ids.conversation_of(turn)


async def test_response_stream(client: AsyncOpenAI) -> None:
    """A stream numbers its events from 0 without a gap: the delta with seq k is 5 + k."""
    stream = await client.responses.create(model=MODEL, input="echo: one two three", stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events] == [
        "response.created", "response.queued", "response.in_progress", "response.output_item.added",
        "response.content_part.added", *["response.output_text.delta"] * 3, "response.output_text.done",
        "response.content_part.done", "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(12))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "one two three"


async def test_stream_helper(client: AsyncOpenAI) -> None:
    """The client's own accumulating helper follows a stream to its final response."""
    async with client.responses.stream(model=MODEL, input="echo: a b") as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_response()
    assert final.output_text == "a b"


@pytest.mark.parametrize("after", [-1, 0, 2, 4, 5, 6, 8, 10])
async def test_stream_goes_on_behind_any_event(client: AsyncOpenAI, after: int) -> None:
    """A retrieved stream holds exactly the events behind `starting_after`, the same as the first time."""
    stream = await client.responses.create(model=MODEL, input="echo: one two three", stream=True)
    whole: list[Any] = [event.to_dict() async for event in stream]
    turn = str(whole[0]["response"]["id"])
    arguments = {} if after < 0 else {"starting_after": after}
    again = await client.responses.retrieve(turn, stream=True, **arguments)  # type: ignore[call-overload]
    events = [event.to_dict() async for event in again]
    assert [event["sequence_number"] for event in events] == list(range(after + 1, 12))
    deltas = [event for event in whole if event["type"] == "response.output_text.delta"]
    assert [event for event in events if event["type"] == "response.output_text.delta"] == [
        event for event in deltas if event["sequence_number"] > after
    ]


async def test_retrieve(client: AsyncOpenAI) -> None:
    """A response can be fetched at once by its id, and is what was answered."""
    made = await client.responses.create(model=MODEL, input="echo: here", metadata={"a": "b"})
    fetched = await client.responses.retrieve(made.id)
    assert fetched.to_dict() | {"background": False} == made.to_dict()
    items = await client.responses.input_items.list(made.id)
    assert [item.to_dict()["content"] for item in items.data] == [[{"type": "input_text", "text": "echo: here"}]]


async def test_background(client: AsyncOpenAI) -> None:
    """A background response is answered at once, found by its id from then on, and cancelled on request."""
    made = await client.responses.create(model=MODEL, input="slow", background=True)
    assert made.status == "queued"
    fetched = await client.responses.retrieve(made.id)
    assert fetched.status in {"queued", "in_progress"}
    cancelled = await client.responses.cancel(made.id)
    assert cancelled.status == "cancelled"
    assert cancelled.output_text == "Hello there"
    assert (await client.responses.cancel(made.id)).status == "cancelled"


async def test_accepted_is_never_unknown(client: AsyncOpenAI) -> None:
    """A turn that nobody behind the gateway has touched yet is queued, not missing."""
    made = await client.responses.create(model=MODEL, input="lost", background=True, instructions="kept")
    fetched = await client.responses.retrieve(made.id)
    assert (fetched.status, fetched.instructions) == ("queued", "kept")


async def test_live_stream_of_a_background_response(client: AsyncOpenAI) -> None:
    """A stream taken up while the answer is being made has its past and its future, each event once."""
    made = await client.responses.create(model=MODEL, input="slow", background=True)
    stream = await client.responses.retrieve(made.id, stream=True)
    numbers = []
    async for event in stream:
        numbers.append(event.sequence_number)
        if event.type == "response.output_text.delta" and event.delta == " there":
            await client.responses.cancel(made.id)
    assert numbers == list(range(11))


async def test_conversation_goes_on(client: AsyncOpenAI, gateway: Running) -> None:
    """`previous_response_id` and `conversation` name the thread; the request says which turn is followed."""
    first = await client.responses.create(model=MODEL, input="echo: 1")
    second = await client.responses.create(model=MODEL, input="echo: 2", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert second.conversation == first.conversation
    assert first.conversation is not None
    await client.responses.create(model=MODEL, input="echo: 3", conversation=first.conversation.id)
    asked = [each.request for each in gateway.pipeline.requests[-3:]]
    assert [each.parent for each in asked] == [None, first.id, "latest"]
    assert [each.new for each in asked] == [True, False, False]
    items = await client.conversations.items.list(first.conversation.id, order="asc")
    assert [item.to_dict()["content"][0]["text"] for item in items.data] == [  # type: ignore[index]
        "echo: 1", "1", "echo: 2", "2", "echo: 3", "3",
    ]  # fmt: skip


async def test_unknown_previous_response(client: AsyncOpenAI) -> None:
    """A previous response that never was is refused by name, also in a conversation that exists."""
    first = await client.responses.create(model=MODEL, input="echo: 1")
    for bogus in (f"{first.id[:-4]}0000", f"resp_{'0' * 64}"):
        with pytest.raises(openai.NotFoundError) as refused:
            await client.responses.create(model=MODEL, input="echo: 2", previous_response_id=bogus)
        assert (refused.value.code, refused.value.param) == ("not_found", "previous_response_id")


async def test_refused(client: AsyncOpenAI) -> None:
    """A refused turn is incomplete for the content filter, with the policy's sentence as its refusal part."""
    made = await client.responses.create(model=MODEL, input="refuse")
    assert made.status == "incomplete"
    assert made.incomplete_details is not None
    assert made.incomplete_details.reason == "content_filter"
    assert made.output[0].to_dict()["content"] == [{"type": "refusal", "refusal": "We don't talk about this."}]
    stream = await client.responses.create(model=MODEL, input="refuse", stream=True)
    events = [event async for event in stream]
    assert [event.type for event in events][4:] == [
        "response.content_part.added", "response.refusal.delta", "response.refusal.done", "response.content_part.done",
        "response.output_item.done", "response.incomplete",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_withheld(client: AsyncOpenAI) -> None:
    """A withheld answer keeps what was released, and says the policy's sentence behind it."""
    made = await client.responses.create(model=MODEL, input="withhold: so far")
    content = made.output[0].to_dict()["content"]
    assert [part["type"] for part in content] == ["output_text", "refusal"]  # type: ignore[attr-defined]
    assert made.output_text == "so far"
    chat = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "withhold: so far"}])
    assert chat.choices[0].finish_reason == "content_filter"
    assert chat.choices[0].message.content == "so far\n\nThe rest is not for you."


async def test_length_and_failure(client: AsyncOpenAI) -> None:
    """Too long is incomplete; failed and expired are failed responses, told with status 200 as OpenAI does."""
    made = await client.responses.create(model=MODEL, input="length: so far")
    assert made.incomplete_details is not None
    assert (made.status, made.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    for script in ("fail", "expire"):
        failed = await client.responses.create(model=MODEL, input=script)
        assert failed.error is not None
        assert (failed.status, failed.error.code) == ("failed", "server_error")
    stream = await client.responses.create(model=MODEL, input="fail", stream=True)
    assert [event.type async for event in stream][-1] == "response.failed"


async def test_busy(client: AsyncOpenAI) -> None:
    """A request that was at fault for the moment is told so by its status, and isn't repeated unasked."""
    with pytest.raises(openai.ConflictError) as refused:
        await client.responses.create(model=MODEL, input="busy", extra_body={"on_busy": "reject"})
    assert refused.value.code == "conversation_busy"
    assert refused.value.response.headers["x-should-retry"] == "false"


async def test_idempotency_key(client: AsyncOpenAI, gateway: Running) -> None:
    """A resend under the same key is the same turn; another body under it is refused."""
    headers = {"Idempotency-Key": "order-1"}
    first = await client.responses.create(model=MODEL, input="echo: once", extra_headers=headers)
    again = await client.responses.create(model=MODEL, input="echo: once", extra_headers=headers)
    assert (again.id, again.output_text) == (first.id, "once")
    streamed = await client.responses.create(model=MODEL, input="echo: once", extra_headers=headers, stream=True)
    assert [event.type async for event in streamed][-1] == "response.completed"
    assert len([each for each in gateway.pipeline.requests if each.turn == first.id]) == 1
    with pytest.raises(openai.ConflictError) as refused:
        await client.responses.create(model=MODEL, input="echo: twice", extra_headers=headers)
    assert refused.value.code == "idempotency_mismatch"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "invalid_request", "input")),
        ({"input": "x", "tools": [{"type": "function"}]}, (400, "unsupported_parameter", "tools")),
        ({"input": "x", "text": {"format": {"type": "json_object"}}}, (400, "unsupported_value", "text")),
        ({"input": "x", "top_k": 3}, (400, "unsupported_parameter", "top_k")),
        ({"input": "x", "temperature": 3}, (400, "invalid_request", "temperature")),
        ({"input": "x" * (192 * 1024 + 1)}, (413, "too_large", "input")),
        ({"input": "x" * (768 * 1024)}, (413, "too_large", None)),
        ({"input": "x", "background": True, "store": False}, (400, "invalid_request", "background")),
        ({"input": "x", "conversation": "conv_1"}, (400, "invalid_request", "conversation")),
    ],
)
async def test_refusals(http: ClientSession, body: dict[str, Any], expected: tuple[int, str, str | None]) -> None:
    """What can't be served is refused by name."""
    async with http.post("/v1/responses", json=body) as answer:
        assert await told(answer) == expected
