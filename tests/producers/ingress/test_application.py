"""What every answer of the public port has in common."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession

from schemas import codec
from tests.producers.support.errors import told
from tests.producers.support.running import Running
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_unknown_paths(http: ClientSession) -> None:
    """An unknown path and a wrong method are told in OpenAI's body."""
    async with http.get("/v1/nothing") as answer:
        assert await told(answer) == (404, "unknown_url", None)
        assert answer.headers["x-request-id"].startswith("req_")
    async with http.delete("/v1/models") as answer:
        assert await told(answer) == (405, "unknown_url", None)
        assert "GET" in answer.headers["Allow"]


async def test_health(http: ClientSession) -> None:
    """The public port tells health without a key, and is not degraded once all it needs is there."""

    async def told_of(path: str) -> tuple[int, str]:
        async with http.get(path, headers={"Authorization": ""}) as answer:
            return answer.status, (await answer.json())["status"]

    async def is_whole() -> bool:
        return await told_of("/readyz") == (200, "ok")

    assert await told_of("/healthz") == (200, "ok")
    # A gateway that was started a moment ago may still be on its way to delivery.
    assert await until(is_whole)


async def test_metrics_name_nobody(gateway: Running, http: ClientSession) -> None:
    """Requests are counted by route, never by anybody's id."""
    async with http.get(f"/v1/conversations/conv_{'1' * 32}") as answer:
        assert answer.status == 404
    text = gateway.metrics.exposition().decode()
    assert 'parley_http_requests_total{method="GET",route="/v1/conversations/{conversation_id}",status="404"}' in text
    assert "1" * 32 not in text


def _deep(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


async def test_odd_requests_are_the_callers_fault(gateway: Running, http: ClientSession) -> None:
    """Bytes, depths and numbers that nobody sends in earnest are refused, not failed on."""
    for headers, expected in (
        ({"Authorization": "Bearer \udce9"}, (401, "unauthenticated", None)),
        ({"Idempotency-Key": "k\udce9"}, (400, "invalid_request", "Idempotency-Key")),
    ):
        raw = {name: text.encode("utf-8", "surrogateescape").decode("latin-1") for name, text in headers.items()}
        assert await _raw_told(gateway, raw) == expected
    for query in (b"user=\xe9", b"after=\xe9", b"order=\xe9", b"limit=\xe9", b"user=%e9"):
        line = b"GET /v1/conversations?%s HTTP/1.1\r\nHost: x\r\n" % query
        status = await _status(gateway, line + b"Authorization: Bearer " + gateway.key.encode() + b"\r\n\r\n")
        assert status < 500, query
    for name in ("tool_choice", "response_format", "n"):
        body = {"messages": [{"role": "user", "content": "x"}], name: _deep(300)}
        async with http.post("/v1/chat/completions", json=body) as answer:
            assert await told(answer) == (400, "unsupported_value", name)
    turn = f"resp_{'1' * 64}"
    async with http.get(f"/v1/responses/{turn}?stream=true&starting_after={'9' * 5000}") as answer:
        assert answer.status in {400, 404}
    async with http.get(f"/v1/conversations?limit={'9' * 5000}") as answer:
        assert await told(answer) == (400, "invalid_request", "limit")


async def _raw_told(gateway: Running, headers: dict[str, str]) -> tuple[int, str, str | None]:
    """What a request gets whose header has a byte that is no text."""
    body = b'{"input":"hi"}'
    given = {"Host": "x", "Authorization": f"Bearer {gateway.key}", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {text}\r\n" for name, text in given.items())
    return await raw_told(gateway, f"POST /v1/responses HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)


async def raw_told(gateway: Running, request: bytes) -> tuple[int, str, str | None]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.gateway.port)
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    error = codec.parse(await reader.readexactly(length))["error"]
    writer.close()
    assert set(error) == {"message", "type", "param", "code"}
    assert "x-request-id: req_" in head
    return int(head.split(" ")[1]), error["code"], error["param"]


async def _status(gateway: Running, request: bytes) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.gateway.port)
    writer.write(request)
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])
