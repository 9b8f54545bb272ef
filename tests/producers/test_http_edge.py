"""What every answer of the public port has in common, and what only Parley serves, over plain HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web

from schemas import identity
from schemas.records import ConversationDeleted, ConversationReset
from tests.producers.support.records import MODEL
from tests.producers.support.running import TOKEN, Running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def internal(gateway: Running) -> AsyncIterator[ClientSession]:
    """Delivery, at the internal routes: served here on a port of their own."""
    app = web.Application()
    app.router.add_routes(gateway.gateway.routes)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with ClientSession(url, headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        yield session
    await runner.cleanup()


async def _error(answer: Any) -> tuple[int, str, str | None]:
    body = (await answer.json())["error"]
    assert set(body) == {"message", "type", "param", "code"}
    return answer.status, body["code"], body["param"]


async def test_unknown_paths(http: ClientSession) -> None:
    """An unknown path and a wrong method are told in OpenAI's body."""
    async with http.get("/v1/nothing") as answer:
        assert await _error(answer) == (404, "unknown_url", None)
        assert answer.headers["x-request-id"].startswith("req_")
    async with http.delete("/v1/models") as answer:
        assert await _error(answer) == (405, "unknown_url", None)
        assert "GET" in answer.headers["Allow"]


async def test_keys(gateway: Running, http: ClientSession) -> None:
    """No key, a wrong one and a scope that is missing are told apart; a new key is known at once."""
    for headers in (
        {"Authorization": ""},
        {"Authorization": "Bearer sk-1"},
        {"Authorization": f"Bearer {gateway.key}x"},
    ):
        async with http.get("/v1/models", headers=headers) as answer:
            assert await _error(answer) == (401, "unauthenticated", None)
    reader = await gateway.new_key("acme", "read")
    async with http.post(
        "/v1/responses", json={"input": "hi"}, headers={"Authorization": f"Bearer {reader}"}
    ) as answer:
        assert await _error(answer) == (403, "forbidden", None)


async def test_other_tenants(gateway: Running, http: ClientSession) -> None:
    """Another tenant's or user's conversations and responses look as if there were none."""
    body = {"model": MODEL, "input": "echo: mine", "user": "anna"}
    async with http.post("/v1/responses", json=body) as answer:
        made = await answer.json()
    other = {"Authorization": f"Bearer {await gateway.new_key('other')}"}
    conversation = made["conversation"]["id"]
    for path in (f"/v1/responses/{made['id']}", f"/v1/conversations/{conversation}", "/v1/responses/resp_nonsense"):
        async with http.get(path, headers=other) as answer:
            assert await _error(answer) == (404, "not_found", None)
    async with http.get(f"/v1/conversations/{conversation}?user=berta") as answer:
        assert answer.status == 404
    async with http.post("/v1/responses", json={**body, "user": "berta", "conversation": conversation}) as answer:
        assert await _error(answer) == (404, "not_found", "conversation")
    async with http.get("/v1/conversations", headers=other) as answer:
        assert (await answer.json())["data"] == []


async def test_listing(http: ClientSession) -> None:
    """Conversations are listed by user, the newest activity first, page by page."""
    made = []
    for _ in range(3):
        async with http.post("/v1/conversations", json={"user": "lister"}) as answer:
            made.append((await answer.json())["id"])
    async with http.post("/v1/responses", json={"input": "echo: x", "conversation": made[0]}) as answer:
        assert answer.status == 200
    found: list[str] = []
    for _ in range(100):
        # The row is a moment behind the answer.
        async with http.get("/v1/conversations?user=lister") as answer:
            found = [each["id"] for each in (await answer.json())["data"]]
        if found[0] == made[0]:
            break
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
        assert await _error(answer) == expected


async def test_no_json(http: ClientSession) -> None:
    """A body that is no JSON is refused with OpenAI's body."""
    async with http.post("/v1/chat/completions", data=b"{") as answer:
        assert await _error(answer) == (400, "invalid_request", None)


async def test_tickets(gateway: Running, http: ClientSession) -> None:
    """A ticket holds no more than was asked, for a minute, and says where to go."""
    body = {"user": "anna", "scopes": ["read"]}
    async with http.post("/v1/tickets", json=body) as answer:
        made = await answer.json()
    ticket = identity.read_ticket(made["ticket"], TOKEN.encode(), 0)
    assert (ticket.principal.tenant, ticket.principal.user, ticket.principal.scopes) == ("acme", "anna", ("read",))
    assert made["url"] == f"ws://127.0.0.1:{gateway.delivery.port}/v1/stream"
    assert ticket.expires_at_ms // 1000 == made["expires_at"]
    async with http.post("/v1/tickets", json={"scopes": ["admin"]}) as answer:
        assert await _error(answer) == (403, "forbidden", "scopes")
    async with http.post("/v1/tickets", json={"conversations": [f"conv_{'0' * 32}"]}) as answer:
        assert answer.status == 404


async def test_health(http: ClientSession) -> None:
    """The public port tells health and readiness without a key."""
    for path in ("/healthz", "/readyz"):
        async with http.get(path, headers={"Authorization": ""}) as answer:
            assert (answer.status, (await answer.json())["status"]) == (200, "ok")


async def test_metrics_name_nobody(gateway: Running, http: ClientSession) -> None:
    """Requests are counted by route, never by anybody's id."""
    async with http.get(f"/v1/conversations/conv_{'1' * 32}") as answer:
        assert answer.status == 404
    text = gateway.metrics.exposition().decode()
    assert 'parley_http_requests_total{method="GET",route="/v1/conversations/{conversation_id}",status="404"}' in text
    assert "1" * 32 not in text


async def test_trace_and_request_id(gateway: Running, http: ClientSession) -> None:
    """A given trace goes on in the turn's record, a given request id comes back."""
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    headers = {"traceparent": trace, "x-request-id": "mine-1"}
    async with http.post("/v1/responses", json={"input": "echo: x"}, headers=headers) as answer:
        assert answer.headers["x-request-id"] == "mine-1"
    assert gateway.pipeline.requests[-1].request.traceparent == trace


def _handed(gateway: Running, **send: Any) -> dict[str, Any]:
    principal = {"tenant": "acme", "key_id": "k", "tier": "standard", "scopes": ["read", "write"], "user": "anna"}
    return {"principal": principal, "send": {"type": "send", "ref": 1, **send}}


async def test_handed_send_and_stop(gateway: Running, internal: ClientSession, http: ClientSession) -> None:
    """What delivery hands over is admitted like any request, for its principal alone."""
    async with internal.post("/internal/send", json=_handed(gateway, text="wait")) as answer:
        made = await answer.json()
    assert (made["type"], made["ref"]) == ("accepted", 1)
    async with http.get(f"/v1/responses/{made['turn']}?user=anna") as answer:
        assert (await answer.json())["status"] in {"queued", "in_progress"}
    stop = {"principal": _handed(gateway)["principal"], "stop": {"type": "stop", "ref": 2, "turn": made["turn"]}}
    other = {**stop, "principal": {**stop["principal"], "user": "berta"}}
    async with internal.post("/internal/stop", json=other) as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "not_found")
    async with internal.post("/internal/stop", json=stop) as answer:
        assert (await answer.json())["type"] == "stopping"
    async with http.post(f"/v1/responses/{made['turn']}/cancel") as answer:
        assert (await answer.json())["status"] == "cancelled"
    again = _handed(gateway, text="echo: 2", conversation=made["conversation"], parent=None)
    async with internal.post("/internal/send", json=again) as answer:
        assert (await answer.json())["conversation"] == made["conversation"]
    assert gateway.pipeline.requests[-1].request.parent is None


async def test_handed_refusals(gateway: Running, internal: ClientSession) -> None:
    """A refusal is a frame with the reader's mark; without the token there is none."""
    async with internal.post("/internal/send", json=_handed(gateway, text="")) as answer:
        frame = await answer.json()
    assert (frame["type"], frame["code"], frame["ref"]) == ("error", "invalid_request", 1)
    headers = {"Authorization": f"Bearer {gateway.key}"}
    async with internal.post("/internal/send", json=_handed(gateway, text="x"), headers=headers) as answer:
        assert answer.status == 401
