"""Acceptance inside a running gateway: what is durable when, and what a failure leaves behind."""

import asyncio
from typing import Any

import pytest
from aiohttp import ClientSession

from infra.runtime.clock import SYSTEM
from producers.admission.asks import Ask, Dialect
from producers.publishing.acceptance import Acceptance
from schemas import ids, instants
from schemas.errors import KafkaUnavailable
from schemas.identity import Principal
from schemas.records import ConversationChanged, TurnRequested
from tests.producers.support.errors import told
from tests.producers.support.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _acceptance(gateway: Running) -> Acceptance:
    acceptance: Acceptance = gateway.gateway._handed._acceptance
    return acceptance


class Spy:
    """The outgoing log, watched, and away when told so."""

    def __init__(self, inner: Any, *, is_away: bool = False) -> None:
        self._inner = inner
        self._is_away = is_away
        self.written: list[object] = []

    async def accept(self, requested: TurnRequested) -> None:
        if self._is_away:
            raise KafkaUnavailable("the brokers are away")
        await self._inner.accept(requested)
        self.written.append(requested)

    async def change(self, changed: ConversationChanged) -> None:
        if self._is_away:
            raise KafkaUnavailable("the brokers are away")
        await self._inner.change(changed)
        self.written.append(changed)


async def test_the_conversation_comes_first(
    gateway: Running, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new conversation is durable before its first turn; one that exists isn't written again."""
    spy = Spy(_acceptance(gateway)._outgoing)
    monkeypatch.setattr(_acceptance(gateway), "_outgoing", spy)
    async with http.post("/v1/responses", json={"input": "echo: a"}) as answer:
        made = await answer.json()
    async with http.post("/v1/responses", json={"input": "echo: b", "previous_response_id": made["id"]}) as answer:
        assert answer.status == 200
    assert [type(each).__name__ for each in spy.written] == ["ConversationChanged", "TurnRequested", "TurnRequested"]


@pytest.mark.parametrize(
    ("tier", "asked_s", "expected_s"),
    [("patient", None, 1234), ("plain", None, 600), ("unknown", None, 600), ("patient", 30.0, 30)],
)
async def test_a_deadline_is_the_turns_own_then_its_tiers(
    gateway: Running, tier: str, asked_s: float | None, expected_s: int
) -> None:
    """A turn ends by what it asks for, else by its tier's deadline, else by the gateway's."""
    ask = Ask(dialect=Dialect.CHAT, text="hi", stored=False, deadline_s=asked_s)
    principal = Principal(tenant="acme", key_id="k", tier=tier, scopes=("write",))
    request = (await _acceptance(gateway).admit(ask, principal, None, None)).requested.request
    given_ms = instants.to_ms(request.deadline_at) - instants.to_ms(request.accepted_at)
    assert given_ms == expected_s * 1000


async def test_what_is_not_durable_is_not_accepted(
    gateway: Running, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the broker's word it is 503; only a request whose repeat is the same turn is asked for again."""
    monkeypatch.setattr(_acceptance(gateway), "_outgoing", Spy(_acceptance(gateway)._outgoing, is_away=True))
    for headers, again in (({}, "false"), ({"Idempotency-Key": "away-1"}, "true")):
        for path, body in (
            ("/v1/responses", {"input": "x"}),
            ("/v1/responses", {"input": "x", "stream": True}),
            ("/v1/responses", {"input": "x", "background": True}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "stream": True}),
        ):
            given = {name: f"{text}-{path}-{sorted(body)}" for name, text in headers.items()}
            async with http.post(path, json=body, headers=given) as answer:
                assert await told(answer) == (503, "unavailable", None)
                assert answer.headers["x-should-retry"] == again
                assert int(answer.headers["Retry-After"]) >= 1


async def test_without_delivery_nothing_is_accepted(
    gateway: Running, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn that nobody could follow isn't accepted, its spare is kept, and asking again is safe."""
    spy = Spy(_acceptance(gateway)._outgoing)
    monkeypatch.setattr(_acceptance(gateway), "_outgoing", spy)
    monkeypatch.setattr(gateway.gateway._relays, "_follow_s", 0.0)
    spares = gateway.gateway._births.spares
    async with http.post("/v1/responses", json={"input": "x"}) as answer:
        assert await told(answer) == (503, "unavailable", None)
        assert answer.headers["x-should-retry"] == "true"
    assert spy.written == []
    assert gateway.gateway._births.spares >= spares


async def test_a_spare_whose_birth_failed_is_nobodys(
    gateway: Running, http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the conversation was made after all can't be known: its name is never given to another."""
    acceptance = _acceptance(gateway)
    births = gateway.gateway._births
    spare = ids.conversation_id(ids.uuid7_hex(SYSTEM.wall_ms(), bytes(10)))
    monkeypatch.setattr(births, "_spares", [spare])
    with monkeypatch.context() as patched:
        patched.setattr(acceptance, "_outgoing", Spy(acceptance._outgoing, is_away=True))
        async with http.post("/v1/conversations", json={}) as answer:
            assert await told(answer) == (503, "unavailable", None)
    async with http.post("/v1/conversations", json={}) as answer:
        assert answer.status == 200
    assert spare not in births._spares


@pytest.mark.parametrize("part", ["_births", "_maker"])
async def test_a_gateway_ends_when_a_spare_loop_does(
    gateway: Running, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """What the taking or the making of spares died of is the gateway's end: it doesn't go on without own topics."""

    async def failed() -> None:
        raise LookupError("a bug")

    monkeypatch.setattr(getattr(gateway.gateway, part), "failed", failed)
    async with asyncio.timeout(10):
        with pytest.raises(LookupError, match="a bug"):
            await gateway.gateway.watch()
