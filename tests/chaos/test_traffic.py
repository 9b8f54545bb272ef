"""Clients wait with a limit and keep what they gave up: a run ends, whatever the pipeline does to them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.chaos.plan import ConversationPlan, TurnPlan, Way
from tests.chaos.traffic import Traffic
from tests.support.pipeline import Pipeline

TURN = TurnPlan(key="k", way=Way.UNSTORED, tokens=3, stop_after_s=None, cut_after_s=None, waits=True)
PLAN = ConversationPlan(number=0, tenant="acme", is_made_first=False, turns=(TURN,))


@asynccontextmanager
async def _gateway(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[int]:
    """The port of a gateway that answers everything so."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _busy(_request: web.Request) -> web.Response:
    return web.json_response({"error": {"message": "made up"}}, status=503, headers={"Retry-After": "1"})


async def _broken(_request: web.Request) -> web.Response:
    return web.json_response({"error": {"message": "made up"}}, status=500)


@pytest.mark.parametrize(
    ("answer", "patience_s", "surprises"),
    [(_busy, 0.5, []), (_broken, 60.0, ['/v1/chat/completions: 500 {"error": {"message": "made up"}}'])],
    ids=["busy for ever", "an answer that nobody expects"],
)
async def test_a_turn_without_an_end_is_given_up(
    answer: Callable[[web.Request], Awaitable[web.Response]], patience_s: float, surprises: list[str]
) -> None:
    """A turn that nothing comes of is noted as hung, once, and its conversation goes on to its end."""
    async with _gateway(answer) as port:
        traffic = Traffic(Pipeline(Path(), port, 0, "", {}), {"acme": "key"}, 0, patience_s)
        async with asyncio.timeout(30):
            await traffic.run((PLAN,), side_by_side=1)
    assert traffic.hung == ["k: its client never saw an end"]
    assert traffic.told == []
    assert traffic.posted.surprises == surprises
