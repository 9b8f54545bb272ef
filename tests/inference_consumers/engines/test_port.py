import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from inference_consumers.engines.openai import OpenAIEngine
from inference_consumers.engines.port import Engine, EngineInfo, GenerationRequest
from inference_consumers.engines.settings import OpenAISettings, SimulatedSettings, TorchSettings
from inference_consumers.engines.simulated import SimulatedEngine
from inference_consumers.engines.torch import TorchEngine
from schemas.errors import CallerError, ContextTooLarge
from schemas.turns import Message, Role
from tests.support import engine_contract as contract

# 300 s: a model of 135 million weights, on cores that other tests may hold as well.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

ASKED = "Tell me about the sea."
TEXTS = ["Tell me about the sea.", "What is the capital of France?", "Name three colours."]


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["simulated", "torch"])
async def started(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Engine, EngineInfo]]:
    if request.param == "simulated":
        engine: Engine = SimulatedEngine(SimulatedSettings(ttft_ms=5, tokens_per_s=200))
    else:
        directory: Path = request.getfixturevalue("model_dir")
        engine = TorchEngine(directory, TorchSettings(threads=2))
    yield engine, await engine.start()
    await engine.stop()


async def test_an_answer_ends_by_length(started: tuple[Engine, EngineInfo]) -> None:
    """`max_tokens` holds, and the prompt is counted as `prompt_tokens` counts it."""
    await contract.check_length(started[0], ASKED)


async def test_an_answer_ends_by_a_stop_text(started: tuple[Engine, EngineInfo]) -> None:
    """A stop text cuts the answer before itself."""
    await contract.check_stop(started[0], ASKED)


async def test_company_changes_no_answer(started: tuple[Engine, EngineInfo]) -> None:
    """Three turns that join at different times say what they say alone."""
    await contract.check_company(started[0], TEXTS)


async def test_an_answer_goes_on_behind_emitted_tokens(started: tuple[Engine, EngineInfo]) -> None:
    """Another attempt goes on behind any token as if nothing had happened."""
    assert started[1].can_continue
    await contract.check_continuing(started[0], ASKED)


async def test_an_answer_that_had_ended_only_ends(started: tuple[Engine, EngineInfo]) -> None:
    """A worker that died between the last text and the end leaves nothing to generate."""
    await contract.check_ended_before(started[0], ASKED)


async def test_a_closed_answer_frees_its_slot(started: tuple[Engine, EngineInfo]) -> None:
    """Nothing runs on behind a closed iterator."""
    await contract.check_closing(started[0], ASKED)


async def test_a_prompt_without_room_is_refused(started: tuple[Engine, EngineInfo]) -> None:
    """A prompt as long as the model reads is ContextTooLarge, not a failure to be retried."""
    request = contract.asking("many words " * started[1].max_model_len)
    with pytest.raises(ContextTooLarge):
        await anext(started[0].generate(request))


@pytest.mark.parametrize(
    "wrong", [{"max_tokens": -1}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"stop": ("",)}]
)
async def test_requests_that_no_engine_can_follow_are_refused_at_birth(wrong: dict[str, object]) -> None:
    """Each value out of range is refused by name."""
    with pytest.raises(CallerError, match=next(iter(wrong))):
        GenerationRequest(id="x", messages=(Message(Role.USER, "hi"),), **wrong)  # type: ignore[arg-type]


async def test_an_upstream_server_keeps_the_port_as_well() -> None:
    """Order, length and closing hold for answers that come over HTTP."""
    simulated = SimulatedEngine(SimulatedSettings(ttft_ms=1, tokens_per_s=200))

    async def models(_request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m", "max_model_len": 100}]})

    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        response = web.StreamResponse()
        await response.prepare(request)
        asked = contract.asking(body["messages"][-1]["content"], max_tokens=body.get("max_tokens"))
        made = await contract.answered(simulated, asked)
        for piece in made.pieces:
            choice = {"delta": {"content": piece.text}, "finish_reason": piece.finish}
            await response.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
            await asyncio.sleep(0)
        usage = {"prompt_tokens": simulated.prompt_tokens(asked.messages)}
        await response.write(f"data: {json.dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n".encode())
        return response

    app = web.Application()
    app.add_routes([web.get("/v1/models", models), web.post("/v1/chat/completions", chat)])
    async with TestServer(app) as server:
        engine = OpenAIEngine(OpenAISettings(base_url=str(server.make_url("/v1"))))
        info = await engine.start()
        assert (info.model, info.max_model_len, info.can_continue) == ("m", 100, False)
        await contract.check_length(engine, ASKED)
        await contract.check_company(engine, TEXTS)
        await contract.check_closing(engine, ASKED)
        await engine.stop()
