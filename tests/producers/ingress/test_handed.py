"""The internal routes, spoken to as delivery does."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web

from tests.producers.support.running import TOKEN, Running

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
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


async def test_a_key_gives_nobody_anothers_conversation(
    gateway: Running, internal: ClientSession, http: ClientSession
) -> None:
    """One idempotency key and one text of two users: the second gets a refusal, not the first one's conversation."""
    mine = _handed(gateway, text="echo: mine", idempotency_key="shared-1")
    async with internal.post("/internal/send", json=mine) as answer:
        made = await answer.json()
    async with internal.post("/internal/send", json=mine) as answer:
        assert await answer.json() == made
    theirs = {**mine, "principal": {**mine["principal"], "user": "berta"}}
    async with internal.post("/internal/send", json=theirs) as answer:
        assert (answer.status, (await answer.json())["code"]) == (409, "idempotency_mismatch")
    body = {"input": "echo: mine", "user": "berta"}
    async with http.post("/v1/responses", json=body, headers={"Idempotency-Key": "shared-1"}) as answer:
        assert answer.status == 409
