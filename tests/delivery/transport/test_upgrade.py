"""The opening handshake as values: what is answered to which request."""

import pytest
from websockets.datastructures import Headers
from websockets.frames import CloseCode as WireCode
from websockets.http11 import Request
from websockets.protocol import State

from delivery.transport.upgrade import StreamProtocol, answer

USUAL = {
    "Host": "127.0.0.1:8081",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def request(path: str = "/v1/stream", **headers: str) -> Request:
    """An opening handshake."""
    return Request(path, Headers(USUAL | {name.replace("_", "-"): value for name, value in headers.items()}))


CASES = [
    (request(), 101, None),
    (request(Authorization="Bearer k"), 101, "k"),
    (request("/v1/stream?ticket=t"), 101, "t"),
    (request("/v1/stream?ticket=t", Authorization="Bearer k"), 101, "k"),
    (request("/"), 404, None),
    (request(Origin="https://evil.example"), 403, None),
    (request(Origin="http://127.0.0.1"), 101, None),
    (request(Upgrade="h2c"), 426, None),
    (request(Sec_WebSocket_Key="short"), 400, None),
]


@pytest.mark.parametrize(("given", "status", "token"), CASES)
def test_what_is_answered(given: Request, status: int, token: str | None) -> None:
    """A good request is switched with its token; any other one is told why in HTTP."""
    found = answer(StreamProtocol(1024), given, ())
    assert found.response.status_code == status
    assert status != 101 or found.token == token


def test_two_headers_of_a_kind_are_refused() -> None:
    """A request that names two tokens or origins is nobody's."""
    doubled = request(Authorization="Bearer a")
    doubled.headers["Authorization"] = "Bearer b"
    assert answer(StreamProtocol(1024), doubled, ()).response.status_code == 400


@pytest.mark.parametrize("offered", [None, "parley.v1+json", "other, parley.v1+json", "other"])
def test_our_subprotocol_or_none(offered: str | None) -> None:
    """Ours is chosen wherever it is offered; else none is."""
    given = request() if offered is None else request(Sec_WebSocket_Protocol=offered)
    response = answer(StreamProtocol(1024), given, ()).response
    expected = "parley.v1+json" if offered is not None and "parley" in offered else None
    assert (response.status_code, response.headers.get("Sec-WebSocket-Protocol")) == (101, expected)


def test_nothing_is_compressed() -> None:
    """An extension that a client offers is declined."""
    response = answer(StreamProtocol(1024), request(Sec_WebSocket_Extensions="permessage-deflate"), ()).response
    assert "Sec-WebSocket-Extensions" not in response.headers


@pytest.mark.parametrize(
    ("code", "told"),
    [(WireCode.MESSAGE_TOO_BIG, 4500), (WireCode.PROTOCOL_ERROR, 4500), (WireCode.INTERNAL_ERROR, 1011)],
)
def test_broken_protocol_is_closed_by_our_code(code: WireCode, told: int) -> None:
    """What a client must not do again is told by 4500; a fault of ours keeps its own code."""
    protocol = StreamProtocol(1024)
    protocol.state = State.OPEN
    protocol.fail(code, "why")
    assert protocol.close_sent is not None
    assert protocol.close_sent.code == told
