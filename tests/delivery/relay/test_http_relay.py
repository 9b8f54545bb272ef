"""Handing words to gateways over real HTTP: which one, how often, and what a client hears when none answers."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from delivery.relay.http_relay import HttpRelay
from schemas.frames import Accepted, ErrorFrame, Send, Stop, Stopping
from schemas.identity import Principal

WHO = Principal(tenant="acme", key_id="k", tier="t", scopes=("write",))
NOBODY = "http://127.0.0.1:9"


class Gateway:
    """A gateway's internal port with one answer."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = 0
        self.status = 200
        self.body: object = {"type": "accepted", "ref": None, "conversation": "c", "turn": "t"}

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.json_response(self.body, status=self.status)


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway()
    app = web.Application()
    app.router.add_post("/internal/{what}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()


async def relay(*urls: str) -> HttpRelay:
    made = HttpRelay(urls, "token")
    await made.start()
    return made


async def test_another_gateway_takes_what_one_cannot(gateway: Gateway) -> None:
    """A gateway that isn't there is passed over, whoever is asked first; the ref is the client's own."""
    asking = await relay(NOBODY, gateway.url)
    for ref in ("a", "b"):
        assert await asking.send(WHO, Send(text="x", ref=ref)) == Accepted(ref=ref, conversation="c", turn="t")
    await asking.stop_asking()


async def test_a_send_without_a_key_is_never_said_twice(gateway: Gateway) -> None:
    """When an answer can't be read, a send that isn't repeatable ends there; one with a key is tried elsewhere."""
    gateway.body = "no frame"
    asking = await relay(gateway.url, gateway.url)
    answer = await asking.send(WHO, Send(text="x"))
    assert isinstance(answer, ErrorFrame)
    assert (answer.code, answer.retriable, gateway.asked) == ("unavailable", True, 1)
    await asking.send(WHO, Send(text="x", idempotency_key="k"))
    assert gateway.asked == 3
    await asking.stop_asking()


async def test_a_refusal_comes_back_as_it_is(gateway: Gateway) -> None:
    """A gateway's error is the client's answer, not a reason to ask another."""
    gateway.status, gateway.body = 429, {"type": "error", "code": "quota_tokens", "message": "m", "retriable": True}
    asking = await relay(gateway.url)
    answer = await asking.stop(WHO, Stop(turn="t", ref=3))
    assert isinstance(answer, ErrorFrame)
    assert (answer.ref, answer.code) == (3, "quota_tokens")
    gateway.status, gateway.body = 200, {"type": "stopping", "ref": None, "turn": "t", "conversation": "c"}
    assert await asking.stop(WHO, Stop(turn="t", ref=4)) == Stopping(ref=4, turn="t", conversation="c")
    await asking.stop_asking()


async def test_no_gateway_at_all() -> None:
    """Nobody there, or a relay that has stopped: `unavailable`."""
    asking = await relay(NOBODY)
    for _ in range(2):
        answer = await asking.send(WHO, Send(text="x", ref=1))
        assert isinstance(answer, ErrorFrame)
        assert answer.code == "unavailable"
        await asking.stop_asking()
