"""What describes the service is served to anybody."""

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from infra.runtime.clock import SYSTEM
from infra.runtime.metrics import Metrics
from infra.runtime.service import Readiness
from producers.ingress.application import application
from producers.ingress.documents import Documents
from schemas import asyncapi, codec


async def test_the_protocol_is_public() -> None:
    """Without a key, from any origin, `/asyncapi.json` is the document, with delivery as this caller finds it."""
    documents = Documents(lambda _: "wss://chat.example/v1/stream")
    app = application(documents.routes, lambda: Readiness(ok=True), SYSTEM, Metrics("gateway"))
    async with TestClient[web.Request, web.Application](TestServer(app)) as client:
        answer = await client.get("/asyncapi.json")
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        told = await answer.json()
    assert told == codec.parse(codec.encode(asyncapi.document("wss://chat.example/v1/stream")))
    assert told["servers"]["delivery"]["host"] == "chat.example"
