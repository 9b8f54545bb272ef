"""What becomes of turns whose clients go away."""

import pytest
from openai import AsyncOpenAI

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
