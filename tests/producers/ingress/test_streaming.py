"""Streams on the wire, with an answer that comes by hand."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from producers.ingress.streaming import ChatRenderer, Renderer, ResponsesRenderer, nothing_more, streamed, written
from producers.relay import answers
from producers.relay.chat_view import ChatStream
from producers.relay.port import DeliveryUnavailable
from producers.relay.progress import Progress
from producers.relay.response_view import ResponseStream
from schemas.records import Record
from tests.producers.support import records
from tests.producers.support.asked import TURN, requested

ASKED = requested()
PARTICULARS = answers.of_request(ASKED, "m")


async def _answer(renderer: Renderer, batches: list[list[Record] | Exception]) -> bytes:
    async def updates(progress: Progress) -> AsyncIterator[list[Record]]:
        for batch in batches:
            if isinstance(batch, Exception):
                raise batch
            for record in batch:
                progress.take_delivered(record)
            yield batch

    async def handler(request: web.Request) -> web.StreamResponse:
        progress = Progress(TURN)
        return await streamed(request, renderer, progress, updates(progress))

    app = web.Application()
    app.router.add_get("/", handler)
    async with TestClient(TestServer(app)) as client, client.get("/") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        return await asyncio.wait_for(answer.read(), 10)


LOG: list[list[Record] | Exception] = [
    [records.accepted(ASKED)],
    [],
    [records.queued(ASKED)],
    [records.started(ASKED), records.delta(ASKED, 0, "a")],
    [records.delta(ASKED, 1, "b"), records.ended(ASKED, 2)],
]


async def test_silence_is_filled() -> None:
    """While nothing is to be said a comment keeps the connection, also while the queue moves."""
    text = await _answer(ResponsesRenderer(ResponseStream(PARTICULARS)), LOG)
    assert text.count(b": wait\n\n") == 2
    assert text.startswith(b"event: response.created\n")
    assert text.count(b"event: response.output_text.delta\n") == 2


async def test_an_error_ends_a_stream_that_has_begun() -> None:
    """When the gateway goes away in mid-answer, the stream says so and ends."""
    batches = [*LOG[:4], DeliveryUnavailable("the gateway is going away")]
    text = await _answer(ChatRenderer(ChatStream(PARTICULARS, includes_usage=False)), batches)
    last = text.split(b"\n\n")[-2]
    assert last.startswith(b'data: {"error":')
    assert b"[DONE]" not in text


async def test_a_known_stream_is_written_whole() -> None:
    """What is known from the beginning is sent at once."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return await written(request, [b"a", b"b"])

    app = web.Application()
    app.router.add_get("/", handler)
    async with TestClient(TestServer(app)) as client, client.get("/") as answer:
        assert await answer.read() == b"ab"
    assert [each async for each in nothing_more()] == []
