"""What becomes of turns whose clients go away."""

import pytest
from aiohttp import ClientSession
from openai import AsyncOpenAI

from producers.ingress import relaying
from producers.relay.turn_reader import Found
from schemas.ids import TurnId
from tests.producers.support.errors import told
from tests.producers.support.records import MODEL
from tests.producers.support.running import Running, soon

pytestmark = pytest.mark.asyncio(loop_scope="session")


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


async def test_stored_and_unstored_at_once(
    gateway: Running, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two kinds under one key that passed each other unseen, the second learns of the first and doesn't hang."""
    monkeypatch.setattr(relaying, "_AGREE_S", 0.5)
    body = {"messages": [{"role": "user", "content": "echo: race"}]}
    key = {"Idempotency-Key": "two-kinds-1"}
    async with http.post("/v1/chat/completions", json=body, headers=key) as answer:
        assert answer.status == 200
    seen = gateway.gateway._handed._acceptance._reader.unstored
    calls = 0

    async def blind_once(turn: TurnId) -> Found | None:
        nonlocal calls
        calls += 1
        return None if calls == 1 else await seen(turn)

    monkeypatch.setattr(gateway.gateway._handed._acceptance._reader, "unstored", blind_once)
    async with http.post("/v1/chat/completions", json={**body, "store": True}, headers=key) as answer:
        assert await told(answer) == (409, "idempotency_mismatch", "Idempotency-Key")
    assert calls == 2
