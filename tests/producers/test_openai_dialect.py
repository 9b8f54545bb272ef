"""The gateway spoken to by the official client, with real Kafka and Cassandra behind it and a scripted pipeline."""

import asyncio

import openai
import pytest
from openai import AsyncOpenAI

from schemas import ids
from tests.producers.support.records import MODEL
from tests.producers.support.running import Running, soon

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
    whole = [event.to_dict() async for event in stream]
    turn = str(whole[0]["response"]["id"])  # type: ignore[index]
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
        with pytest.raises(openai.APIError) as told:
            async for _ in stream:
                pass
        assert told.value.code == code


async def test_abandoned(client: AsyncOpenAI, gateway: Running) -> None:
    """A broken connection stops a turn that isn't stored."""
    stream = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "slow"}], stream=True
    )
    turn = ""
    async for chunk in stream:
        turn = f"resp_{chunk.id[9:]}"
        break
    gateway.pipeline.stop_seen.clear()
    await stream.close()
    await soon(gateway.pipeline.stop_seen)
    assert gateway.pipeline.stopped[-1] == turn


async def test_not_abandoned(client: AsyncOpenAI, gateway: Running) -> None:
    """A broken connection never stops a stored turn: it can be taken up again."""
    stream = await client.responses.create(model=MODEL, input="slow", stream=True)
    turn = ""
    async for event in stream:
        if event.type == "response.created":
            turn = event.response.id
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    # Longer than abandon_s: by then a stop would have been asked for. An unstored turn, begun later, is the clock.
    unstored = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "slow"}], stream=True
    )
    async for _ in unstored:
        break
    gateway.pipeline.stop_seen.clear()
    await unstored.close()
    await soon(gateway.pipeline.stop_seen)
    assert turn not in gateway.pipeline.stopped
    assert (await client.responses.retrieve(turn)).status == "in_progress"
    await client.responses.cancel(turn)


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


async def test_conversations(client: AsyncOpenAI, gateway: Running) -> None:
    """A conversation is made, described, used, listed by activity, and deleted for good."""
    made = await client.conversations.create(metadata={"topic": "tests"})
    other = await client.conversations.create()
    assert (await client.conversations.retrieve(made.id)).metadata == {"topic": "tests"}
    changed = await client.conversations.update(made.id, metadata={"topic": "more"})
    assert changed.metadata == {"topic": "more"}
    answer = await client.responses.create(model=MODEL, input="echo: hi", conversation=made.id)
    items = await client.conversations.items.list(made.id)
    assert [item.to_dict()["role"] for item in items.data] == ["assistant", "user"]
    one = await client.conversations.items.retrieve(items.data[0].to_dict()["id"], conversation_id=made.id)  # type: ignore[arg-type]
    assert one.to_dict()["content"][0]["text"] == "hi"  # type: ignore[index]
    gone = await client.conversations.delete(made.id)
    assert gone.deleted
    for call in (
        client.conversations.retrieve(made.id),
        client.responses.retrieve(answer.id),
        client.conversations.items.list(made.id),
        client.responses.create(model=MODEL, input="echo: hi", conversation=made.id),
    ):
        with pytest.raises(openai.NotFoundError):
            await call
    assert (await client.conversations.retrieve(other.id)).id == other.id


async def test_items_pages(client: AsyncOpenAI) -> None:
    """Pages of items follow one another without a gap or a repeat, in either order, whatever their size."""
    made = await client.conversations.create()
    for number in range(4):
        await client.responses.create(model=MODEL, input=f"echo: {number}", conversation=made.id)
    for order in ("asc", "desc"):
        whole = [
            item.to_dict()["id"]
            async for item in client.conversations.items.list(made.id, order=order, limit=100)  # type: ignore[arg-type]
        ]
        assert len(whole) == 8
        for limit in (1, 2, 3, 5):
            paged = [
                item.to_dict()["id"]
                async for item in client.conversations.items.list(made.id, order=order, limit=limit)  # type: ignore[arg-type]
            ]
            assert paged == whole
