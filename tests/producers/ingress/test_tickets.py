"""`POST /v1/tickets`."""

from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import make_mocked_request

from infra.runtime.clock import SYSTEM
from producers.ingress.tickets import Tickets
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


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("chat.example:80", "ws://chat.example:9001/v1/stream"),
        ("192.0.2.7:8080", "ws://192.0.2.7:9001/v1/stream"),
        ("[2001:db8::1]:8080", "ws://[2001:db8::1]:9001/v1/stream"),
        ("[", "ws://node:9001/v1/stream"),
        ("x;script-src *", "ws://node:9001/v1/stream"),
    ],
)
async def test_the_address_is_the_callers_own(host: str, url: str) -> None:
    """Without a configured address a client goes where it came to, at the stream's port."""
    found: Any = None
    tickets = Tickets(
        found, found, SYSTEM, secret="s", ticket_s=1.0, stream_url=None, stream_port=9001, node="http://node:1"
    )
    assert tickets.stream_url(make_mocked_request("GET", "/", headers={"Host": host})) == url
