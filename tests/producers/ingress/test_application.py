"""What every answer of the public port has in common."""

import pytest
from aiohttp import ClientSession

from tests.producers.support.errors import told
from tests.producers.support.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_unknown_paths(http: ClientSession) -> None:
    """An unknown path and a wrong method are told in OpenAI's body."""
    async with http.get("/v1/nothing") as answer:
        assert await told(answer) == (404, "unknown_url", None)
        assert answer.headers["x-request-id"].startswith("req_")
    async with http.delete("/v1/models") as answer:
        assert await told(answer) == (405, "unknown_url", None)
        assert "GET" in answer.headers["Allow"]


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
