import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from inference_consumers.engines.openai import OpenAIEngine
from inference_consumers.engines.port import Piece, Started
from inference_consumers.engines.settings import OpenAISettings
from schemas.errors import ContextTooLarge, EngineDead, EngineFailed
from schemas.turns import Reason
from tests.support.engine_contract import answered, asking


class Upstream:
    """A real server whose answer each test writes."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.keys: list[str | None] = []
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = self.plain
        self.was_left = asyncio.Event()

    async def models(self, _request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "first", "created": 7}, {"id": "second", "max_model_len": 99}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.keys.append(request.headers.get("Authorization"))
        return await self.answer(request)

    async def stream(self, request: web.Request, *lines: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for line in lines:
            await response.write(f"{line}\n\n".encode())
        return response

    async def plain(self, request: web.Request) -> web.StreamResponse:
        usage = {"prompt_tokens": 11, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
        lines = (_delta("He"), ": a comment", _delta("llo"), _delta("", "length"))
        return await self.stream(request, *lines, _data({"choices": [], "usage": usage}), "data: [DONE]")

    async def endless(self, request: web.Request) -> web.StreamResponse:
        response = await self.stream(request, _delta("on"))
        try:
            while True:
                await response.write(f"{_delta(' and on')}\n\n".encode())
                await asyncio.sleep(0.005)
        finally:
            self.was_left.set()


def _data(chunk: dict[str, object]) -> str:
    return f"data: {json.dumps(chunk)}"


def _delta(text: str, finish: str | None = None) -> str:
    return _data({"choices": [{"delta": {"content": text}, "finish_reason": finish}]})


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, str]]:
    made = Upstream()
    app = web.Application()
    app.add_routes([web.get("/v1/models", made.models), web.post("/v1/chat/completions", made.chat)])
    async with TestServer(app, handler_cancellation=True) as server:
        yield made, str(server.make_url("/v1"))


@pytest.fixture
async def engine(upstream: tuple[Upstream, str]) -> AsyncIterator[OpenAIEngine]:
    made = OpenAIEngine(OpenAISettings(base_url=upstream[1], api_key="sk-x", model="second", slots=1))
    info = await made.start()
    assert (info.model, info.max_model_len, info.version) == ("second", 99, "")
    yield made
    await made.stop()


async def test_an_answer_comes_in_pieces_with_true_counts_at_the_end(
    engine: OpenAIEngine, upstream: tuple[Upstream, str]
) -> None:
    """Deltas become pieces, usage becomes a second Started, and the end is the server's."""
    items = [item async for item in engine.generate(asking("Hi", max_tokens=9, stop=("x",), seed=0))]
    assert items[1:] == [
        Piece(text="He", token_ids=(0,)),
        Piece(text="llo", token_ids=(1,)),
        Started(prompt_tokens=11, cached_tokens=4),
        Piece(text="", token_ids=(), finish=Reason.LENGTH),
    ]
    body = upstream[0].bodies[0]
    assert (body["model"], body["stream"], body["max_tokens"], body["stop"]) == ("second", True, 9, ["x"])
    assert body["seed"] == 0
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert upstream[0].keys == ["Bearer sk-x"]


async def test_closing_an_answer_closes_the_connection(engine: OpenAIEngine, upstream: tuple[Upstream, str]) -> None:
    """The server sees the connection go, and the slot is free."""
    upstream[0].answer = upstream[0].endless
    async with aclosing(engine.generate(asking("Hi"))) as answer:
        for _ in range(3):
            await anext(answer)
        assert engine.load().running == 1
    async with asyncio.timeout(5):
        await upstream[0].was_left.wait()
    assert engine.load().running == 0


async def test_more_requests_than_slots_wait_here(engine: OpenAIEngine, upstream: tuple[Upstream, str]) -> None:
    """The second request isn't sent before the first has ended."""
    upstream[0].answer = upstream[0].endless
    async with aclosing(engine.generate(asking("Hi"))) as first:
        await anext(first)
        await anext(first)
        second = asyncio.create_task(answered(engine, asking("Hi")))
        await asyncio.sleep(0)
        assert (engine.load().running, engine.load().waiting, len(upstream[0].bodies)) == (1, 1, 1)
        upstream[0].answer = upstream[0].plain
    assert (await second).text == "Hello"


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (401, {"message": "bad key"}, EngineDead),
        (404, {"message": "no such model"}, EngineDead),
        (429, {"message": "slow down"}, EngineFailed),
        (503, {"message": "busy"}, EngineFailed),
        (400, {"message": "too long", "code": "context_length_exceeded"}, ContextTooLarge),
        (400, {"message": "This model's maximum context length is 99 tokens"}, ContextTooLarge),
    ],
)
async def test_refusals_say_what_another_attempt_could_change(
    engine: OpenAIEngine, upstream: tuple[Upstream, str], status: int, error: dict[str, str], expected: type[Exception]
) -> None:
    """A wrong key or model ends the worker, a busy server is tried again, a long prompt is the caller's."""

    async def refuse(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": error}, status=status)

    upstream[0].answer = refuse
    with pytest.raises(expected, match=error["message"][:8]) as raised:
        await answered(engine, asking("Hi"))
    assert type(raised.value) is expected


async def test_broken_answers_are_failures_to_be_tried_again(
    engine: OpenAIEngine, upstream: tuple[Upstream, str]
) -> None:
    """An error in the stream, an end without reason and a line that is no JSON are EngineFailed."""
    for lines in ([_delta("He"), _data({"error": {"message": "lost"}})], [_delta("He")], ["data: {"]):

        async def broken(request: web.Request, lines: list[str] = lines) -> web.StreamResponse:
            return await upstream[0].stream(request, *lines)

        upstream[0].answer = broken
        with pytest.raises(EngineFailed):
            await answered(engine, asking("Hi"))


async def test_a_server_that_can_goes_on_behind_the_emitted_text(upstream: tuple[Upstream, str]) -> None:
    """With `continues` the emitted text stands as the unfinished assistant message at the end."""
    engine = OpenAIEngine(OpenAISettings(base_url=upstream[1], continues=True))
    info = await engine.start()
    assert (info.model, info.can_continue, info.version) == ("first", True, "7")
    rest = await answered(engine, asking("Hi", emitted_token_ids=(0, 1), emitted_text="He"))
    assert rest.token_ids == (2, 3)
    body = upstream[0].bodies[0]
    assert body["messages"][-1] == {"role": "assistant", "content": "He"}  # type: ignore[index]
    assert body["continue_final_message"] is True
    await engine.stop()


async def test_no_server_is_one_sentence_at_the_start() -> None:
    """A port where nobody listens is named, and so is an engine that wasn't started."""
    engine = OpenAIEngine(OpenAISettings(base_url="http://127.0.0.1:9/v1"))
    with pytest.raises(EngineDead, match=r"127\.0\.0\.1:9"):
        await engine.start()
    await engine.stop()
    with pytest.raises(EngineFailed, match="not running"):
        await answered(engine, asking("Hi"))
