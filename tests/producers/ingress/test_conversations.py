"""`/v1/conversations` spoken to by the official client and by a plain one."""

import openai
import pytest
from aiohttp import ClientSession
from openai import AsyncOpenAI

from schemas.records import ConversationDeleted, ConversationReset
from tests.producers.support.errors import told
from tests.producers.support.records import MODEL
from tests.producers.support.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="session")


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


async def test_listing(http: ClientSession) -> None:
    """Conversations are listed by user, the newest activity first, page by page."""
    made = []
    for _ in range(3):
        async with http.post("/v1/conversations", json={"user": "lister"}) as answer:
            made.append((await answer.json())["id"])
    async with http.post("/v1/responses", json={"input": "echo: x", "conversation": made[0]}) as answer:
        assert answer.status == 200
    # The row may be a moment behind the answer: this gateway knows better.
    async with http.get("/v1/conversations?user=lister") as answer:
        found = [each["id"] for each in (await answer.json())["data"]]
    assert found == [made[0], made[2], made[1]]
    async with http.get(f"/v1/conversations?user=lister&limit=1&after={found[0]}") as answer:
        page = await answer.json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([found[1]], True)


async def test_reset_and_delete_go_the_conversations_road(gateway: Running, http: ClientSession) -> None:
    """Reset and deletion stand on `chat.requests`, behind the turns."""
    async with http.post("/v1/conversations", json={}) as answer:
        made = (await answer.json())["id"]
    async with http.post(f"/v1/conversations/{made}/reset") as answer:
        assert answer.status == 200
    async with http.delete(f"/v1/conversations/{made}") as answer:
        assert (await answer.json())["deleted"] is True
    kinds = [type(record) for record in await gateway.pipeline.others_of(made, 2)]
    assert kinds == [ConversationReset, ConversationDeleted]


async def test_a_conversation_is_made_once_under_a_key(http: ClientSession) -> None:
    """A resend under a key gives the same conversation; another body, dialect or user gets 409."""
    key = {"Idempotency-Key": "conversation-1"}
    body = {"metadata": {"a": "1"}, "user": "keyed"}
    async with http.post("/v1/conversations", json=body, headers=key) as answer:
        made = await answer.json()
    async with http.post("/v1/conversations", json=body, headers=key) as answer:
        assert (await answer.json())["id"] == made["id"]
    for path, other in (
        ("/v1/conversations", {**body, "metadata": {"a": "2"}}),
        ("/v1/conversations", {**body, "user": "somebody"}),
        ("/v1/responses", {"input": "echo: x", "user": "keyed"}),
        ("/v1/responses", {"input": "echo: x", "store": False}),
    ):
        async with http.post(path, json=other, headers=key) as answer:
            assert await told(answer) == (409, "idempotency_mismatch", "Idempotency-Key")
    async with http.post("/v1/responses", json={"input": "echo: x"}, headers={"Idempotency-Key": "turn-1"}) as answer:
        assert answer.status == 200
    async with http.post("/v1/conversations", json={}, headers={"Idempotency-Key": "turn-1"}) as answer:
        assert await told(answer) == (409, "idempotency_mismatch", "Idempotency-Key")


async def test_instructions_and_metadata(gateway: Running, http: ClientSession) -> None:
    """A conversation's instructions go with its turns, also under a key; an update changes what it names alone."""
    body = {"metadata": {"a": "1"}, "instructions": "be kind"}
    async with http.post("/v1/conversations", json=body) as answer:
        made = await answer.json()
    assert made["instructions"] == "be kind"
    one = f"/v1/conversations/{made['id']}"
    for nothing in ({}, {"metadata": None}):
        async with http.post(one, json=nothing) as answer:
            assert await told(answer) == (400, "invalid_request", "metadata")
    async with http.post(one, json={"instructions": "be brief"}) as answer:
        changed = await answer.json()
    assert (changed["instructions"], changed["metadata"]) == ("be brief", {"a": "1"})
    async with http.post(one, json={"metadata": {"b": "2"}}) as answer:
        assert (await answer.json())["instructions"] == "be brief"
    async with http.post("/v1/responses", json={"input": "echo: x", "conversation": made["id"]}) as answer:
        assert answer.status == 200
    assert gateway.pipeline.requests[-1].request.conversation_instructions == "be brief"
    async with http.post(one, json={"instructions": ""}) as answer:
        assert (await answer.json())["instructions"] is None
    async with http.post(one, json={"instructions": "x" * 65537}) as answer:
        assert await told(answer) == (413, "too_large", "instructions")
