"""The Python client against a real node: keys, positions, slow takers, and every way in which it ends.

How it comes through cuts is in test_cuts.py, with the JavaScript one.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from delivery.client import NotAnswered, ParleyClient, Reading, Refused, parley_client
from delivery.client import reading as room
from delivery.node import Node
from schemas.errors import CallerError, DependencyError
from schemas.frames import Event, Subscribed
from tests.delivery.scene import LIMIT_S, Scene, Talk, fresh_turn, stripped


def url(node: Node, path: str = "/v1/stream") -> str:
    """Of a node."""
    return f"ws://127.0.0.1:{node.port}{path}"


async def events_until_ended(reading: Reading) -> list[Event]:
    """The events up to the end of a turn."""
    found = []
    async with asyncio.timeout(LIMIT_S):
        async for frame in reading:
            if isinstance(frame, Event):
                found.append(frame)
                if frame.event["type"] == "turn.ended":
                    break
    return found


async def says(talk: Talk, deltas: int) -> list[dict[str, Any]]:
    """A whole turn is written; what a reader is to hear of it."""
    turn = fresh_turn(talk.conversation)
    accepted = talk.accepted(turn)
    pieces = [talk.delta(turn, seq) for seq in range(deltas)]
    records = [accepted, talk.started(turn), *pieces, talk.ended(accepted, deltas)]
    await talk.append_all(records)
    return [stripped(each) for each in records]


async def test_a_key_reads_and_a_position_goes_on(scene: Scene) -> None:
    """History, then live; another client that has only the position of an event gets what lies behind it, once."""
    talk = await scene.talk()
    node = await scene.node()
    async with ParleyClient(url(node), key=scene.key) as client:
        reading = client.read(talk.conversation)
        begin = await anext(reading)
        assert isinstance(begin, Subscribed)
        assert begin.history is not None
        expected = await says(talk, 6)
        heard = await events_until_ended(reading)
        assert [frame.event for frame in heard] == expected
        assert client.is_connected
    for cut in (0, 3, 5):
        async with ParleyClient(url(node), key=scene.key) as other:
            behind = other.read(talk.conversation, heard[cut].position)
            assert await events_until_ended(behind) == heard[cut + 1 :]


async def test_a_slow_taker_misses_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """When more waits than is kept, the rest stays in the log; another conversation on the same client goes on."""
    monkeypatch.setattr(room, "MOST_WAITING", 5)
    slow, other = await scene.talk(), await scene.talk()
    node = await scene.node()
    async with ParleyClient(url(node), key=scene.key) as client:
        reading, beside = client.read(slow.conversation), client.read(other.conversation)
        await anext(reading)
        await anext(beside)
        expected = await says(slow, 40)
        for _ in range(3):
            told = await says(other, 1)
            assert [frame.event for frame in await events_until_ended(beside)] == told
        assert reading.is_paused
        assert [frame.event for frame in await events_until_ended(reading)] == expected


async def test_frames_are_answered(scene: Scene) -> None:
    """A ping has the server's time; a send and its refusal are the gateway's words; no answer is told in time."""
    talk = await scene.talk()
    turn = fresh_turn(talk.conversation)
    accepted = {"type": "accepted", "conversation": talk.conversation, "turn": turn}
    scene.gateway.answers["/internal/send"] = (200, accepted)
    async with ParleyClient(url(await scene.node()), key=scene.key) as client:
        assert (await client.ping()).at.endswith("Z")
        answer = await client.send("Hello", idempotency_key="mine", options={"max_output_tokens": 5})
        assert (answer.conversation, answer.turn) == (talk.conversation, turn)
        [(_, body, _)] = scene.gateway.handed
        assert body["send"]["idempotency_key"] == "mine"
        assert body["send"]["options"] == {"max_output_tokens": 5}
        busy = {"type": "error", "code": "conversation_busy", "message": "one at a time", "retriable": True}
        scene.gateway.answers["/internal/send"] = (409, busy)
        with pytest.raises(Refused, match="one at a time") as refused:
            await client.send("Again", conversation=talk.conversation)
        assert (refused.value.told, refused.value.retriable) == ("conversation_busy", True)
    async with ParleyClient("ws://127.0.0.1:9/v1/stream", key="k", answer_s=0.05) as alone:
        with pytest.raises(NotAnswered):
            await alone.ping()


@pytest.mark.parametrize(
    ("path", "key", "told"),
    [("/v1/stream", "pk_nobody_0123456789abcdef", "unauthenticated"), ("/v1/elsewhere", None, "forbidden")],
)
async def test_a_wrong_key_or_path_ends_it(scene: Scene, path: str, key: str | None, told: str) -> None:
    """What doesn't get better by asking again is raised to readers and callers, those of later as well."""
    async with ParleyClient(url(await scene.node(), path), key=key or scene.key) as client:
        reading = client.read("conv_" + "0" * 32)
        for ask in (anext(reading), client.ping()):
            with pytest.raises(Refused) as refused:
                await asyncio.wait_for(ask, LIMIT_S)
            assert refused.value.told == told
        with pytest.raises(Refused):
            client.read("conv_" + "1" * 32)


async def test_tickets_that_can_not_be_had_now_are_asked_for_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ticket source that is away, or says nothing, is asked again; any other error of it is its caller's to see."""
    monkeypatch.setattr(parley_client, "_OPEN_S", 0.5)
    talk = await scene.talk()
    node = await scene.node()
    failures: list[Exception] = [DependencyError("away"), ConnectionRefusedError()]
    silent = iter([asyncio.Event()])

    async def ticket() -> Mapping[str, Any]:
        if failures:
            raise failures.pop()
        for never in silent:
            await never.wait()
        return {"url": url(node) + "?of=here", "ticket": scene.key}

    async def broken() -> Mapping[str, Any]:
        raise LookupError("no such user")

    async with ParleyClient(ticket=ticket) as client:
        assert isinstance(await asyncio.wait_for(anext(client.read(talk.conversation)), LIMIT_S), Subscribed)
    async with ParleyClient(ticket=broken) as client:
        with pytest.raises(LookupError):
            await client.ping()


async def test_leaving_and_closing_end_what_waits(scene: Scene) -> None:
    """A conversation that is left, or read anew, ends its reading; closing ends all, and again does nothing."""
    talk, other = await scene.talk(), await scene.talk()
    async with ParleyClient(url(await scene.node()), key=scene.key) as client:
        first = client.read(talk.conversation)
        second = client.read(talk.conversation)
        with pytest.raises(Refused):
            await anext(first)
        await anext(second)
        client.leave(talk.conversation)
        client.leave(talk.conversation)
        await says(talk, 1)
        kept = client.read(other.conversation)
        await anext(kept)
        with pytest.raises(Refused, match="no longer read"):
            await anext(second)
        await client.close()
        with pytest.raises(Refused, match="closed"):
            await anext(kept)
        with pytest.raises(Refused, match="closed"):
            await client.ping()


@pytest.mark.parametrize("given", [{}, {"url": "ws://x"}, {"key": "k"}])
def test_a_client_knows_where_and_as_whom(given: dict[str, str]) -> None:
    """Neither a key with an address nor a ticket source is refused at once."""
    with pytest.raises(CallerError):
        ParleyClient(**given)  # type: ignore[arg-type]
