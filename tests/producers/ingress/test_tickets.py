"""`POST /v1/tickets`."""

import pytest
from aiohttp import ClientSession

from schemas import identity
from tests.producers.support.errors import told
from tests.producers.support.running import TOKEN, Running

pytestmark = pytest.mark.asyncio(loop_scope="session")


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
        assert await told(answer) == (403, "forbidden", "scopes")
    async with http.post("/v1/tickets", json={"conversations": [f"conv_{'0' * 32}"]}) as answer:
        assert answer.status == 404
