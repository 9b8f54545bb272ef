"""What a real node says is what the protocol's document says that it says."""

from typing import Any

from jsonschema import Draft202012Validator

from schemas.asyncapi import document
from schemas.frames import CLIENT_FRAMES, SERVER_FRAMES
from schemas.records import MovedLogged, ResetLogged, TurnQueued
from tests.delivery.scene import Scene, at, fresh_turn

DOCUMENT = document()
MESSAGES = DOCUMENT["components"]["messages"]


def check(frame: dict[str, Any]) -> str:
    """The frame is valid under the payload of its message; its type."""
    payload = MESSAGES[frame["type"]]["payload"]
    Draft202012Validator({**payload, "components": DOCUMENT["components"]}).validate(frame)
    return str(frame["type"])


async def test_every_frame_is_as_the_document_says(scene: Scene) -> None:
    """Of a dialogue in which every frame is said, each one on either side is valid under the document."""
    node = await scene.node(alive_s=0.2)
    talk = await scene.talk()
    await talk.stored_turn()
    opened = fresh_turn(talk.conversation)
    accepted = talk.accepted(opened)
    await talk.append(accepted)
    client = await scene.client(node)
    turn = {"conversation": talk.conversation, "turn": opened}
    scene.gateway.answers["/internal/send"] = (200, {"type": "accepted", "ref": None, **turn})
    scene.gateway.answers["/internal/stop"] = (200, {"type": "stopping", "ref": None, **turn})
    asked: list[dict[str, Any]] = [
        {"type": "ping", "ref": 1},
        {"type": "subscribe", "ref": "s", "conversation": talk.conversation, "after": None},
        {"type": "subscribe", "ref": "x", "conversation": "conv_" + "0" * 32},
        {"type": "send", "ref": 2, "conversation": talk.conversation, "text": "hello"},
        {"type": "stop", "ref": 3, "turn": opened},
        {"type": "authenticate", "token": scene.key},
    ]
    heard: dict[str, int] = {}
    events: set[str] = set()
    for frame in asked:
        check(frame)
        await client.say(**frame)
    while not {"pong", "subscribed", "error", "accepted", "stopping", "alive"} <= set(heard):
        kind = check(await client.hear())
        heard[kind] = heard.get(kind, 0) + 1
    queued = TurnQueued(id="q", at=at(), conversation=talk.conversation, turn=opened, ahead=1, eta_s=0.5)
    reset = ResetLogged(id="r", at=at(), conversation=talk.conversation, order=98)
    pieces = [queued, talk.started(opened), talk.delta(opened, 0), talk.ended(accepted, 1), reset]
    await talk.append_all([*pieces, talk.accepted(fresh_turn(talk.conversation))])
    while len(events) < len(pieces):
        frame = await client.hear()
        heard[check(frame)] = 1
        events |= {frame["event"]["type"]} if frame["type"] == "event" else set()
    bye = {"type": "unsubscribe", "ref": "u", "conversation": talk.conversation}
    check(bye)
    await client.say(**bye)
    while "unsubscribed" not in heard:
        heard[check(await client.hear())] = 1
    assert set(heard) == set(SERVER_FRAMES)
    assert {frame["type"] for frame in (*asked, bye)} == set(CLIENT_FRAMES)
    assert events == {each.type for each in pieces}


async def test_a_moved_log_is_told_as_the_document_says(scene: Scene) -> None:
    """The last event of an own topic is one of the document's as well."""
    node = await scene.node()
    talk = await scene.talk()
    client = await scene.client(node)
    assert check(await client.subscribe(talk.conversation)) == "subscribed"
    await talk.append(MovedLogged(id="m", at=at(), conversation=talk.conversation, order=99))
    frame = await client.hear()
    assert (check(frame), frame["event"]["type"]) == ("event", "conversation.moved")
