"""Requests that are no HTTP, byte by byte."""

import gzip

import pytest
from aiohttp import ClientSession

from tests.producers.ingress.test_application import raw_told
from tests.producers.support.errors import told
from tests.producers.support.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET  /v1/ models HTTP/9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
async def test_what_is_no_http(gateway: Running, request_bytes: bytes) -> None:
    """A request that can't be parsed is told so in OpenAI's body, with an id."""
    assert await raw_told(gateway, request_bytes) == (400, "invalid_request", None)


async def test_bodies_that_are_not_what_they_say(http: ClientSession) -> None:
    """A body whose compression is broken is the caller's fault; a good one is read."""
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    good = gzip.compress(b'{"input":"echo: x"}')
    for body in (b"no gzip at all", good[:10] + b"\xff" * 10):
        async with http.post("/v1/responses", data=body, headers=headers) as answer:
            assert await told(answer) == (400, "invalid_request", None)
            assert answer.headers["x-request-id"]
    async with http.post("/v1/responses", data=good, headers=headers) as answer:
        assert answer.status == 200


async def test_a_response_cannot_be_deleted_yet(http: ClientSession) -> None:
    """What isn't served at a path is told in OpenAI's body."""
    async with http.delete(f"/v1/responses/resp_{'1' * 64}") as answer:
        assert await told(answer) == (405, "unknown_url", None)
