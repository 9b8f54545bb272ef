"""Keys, tenants and users; traces and request ids."""

import pytest
from aiohttp import ClientSession

from tests.producers.support.errors import told
from tests.producers.support.records import MODEL
from tests.producers.support.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_keys(gateway: Running, http: ClientSession) -> None:
    """No key, a wrong one and a scope that is missing are told apart; a new key is known at once."""
    for headers in (
        {"Authorization": ""},
        {"Authorization": "Bearer sk-1"},
        {"Authorization": f"Bearer {gateway.key}x"},
    ):
        async with http.get("/v1/models", headers=headers) as answer:
            assert await told(answer) == (401, "unauthenticated", None)
    reader = await gateway.new_key("acme", "read")
    async with http.post(
        "/v1/responses", json={"input": "hi"}, headers={"Authorization": f"Bearer {reader}"}
    ) as answer:
        assert await told(answer) == (403, "forbidden", None)


async def test_a_gateway_that_starts_knows_nobody_yet(
    gateway: Running, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the keys have been read a good one isn't refused: the caller is asked to come back."""
    for followed in gateway.gateway._directory._all:
        monkeypatch.setattr(followed, "has_started", False)
    async with http.get("/v1/models") as answer:
        assert await told(answer) == (503, "unavailable", None)
        assert answer.headers["x-should-retry"] == "true"
    async with http.get("/readyz") as answer:
        assert answer.status == 503


async def test_other_tenants(gateway: Running, http: ClientSession) -> None:
    """Another tenant's or user's conversations and responses look as if there were none."""
    body = {"model": MODEL, "input": "echo: mine", "user": "anna"}
    async with http.post("/v1/responses", json=body) as answer:
        made = await answer.json()
    other = {"Authorization": f"Bearer {await gateway.new_key('other')}"}
    conversation = made["conversation"]["id"]
    for path in (f"/v1/responses/{made['id']}", f"/v1/conversations/{conversation}", "/v1/responses/resp_nonsense"):
        async with http.get(path, headers=other) as answer:
            assert await told(answer) == (404, "not_found", None)
    async with http.get(f"/v1/conversations/{conversation}?user=berta") as answer:
        assert answer.status == 404
    async with http.post("/v1/responses", json={**body, "user": "berta", "conversation": conversation}) as answer:
        assert await told(answer) == (404, "not_found", "conversation")
    async with http.get("/v1/conversations", headers=other) as answer:
        assert (await answer.json())["data"] == []


async def test_trace_and_request_id(gateway: Running, http: ClientSession) -> None:
    """A given trace goes on in the turn's record, a given request id comes back."""
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    headers = {"traceparent": trace, "x-request-id": "mine-1"}
    async with http.post("/v1/responses", json={"input": "echo: x"}, headers=headers) as answer:
        assert answer.headers["x-request-id"] == "mine-1"
    assert gateway.pipeline.requests[-1].request.traceparent == trace
