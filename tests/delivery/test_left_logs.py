"""Logs that were left or cut off while a reader was away: what it gets, and that nothing is missing."""

from dataclasses import replace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition
from websockets.exceptions import ConnectionClosedError

from delivery.node import Node
from schemas import topics
from schemas.fold import CLOSED_ORDER
from schemas.frames import CloseCode
from schemas.records import MovedLogged
from tests.delivery.scene import TOKEN, Client, Scene, Talk, at, fresh_turn


async def left(talk: Talk) -> None:
    """The conversation's log is closed."""
    await talk.append(MovedLogged(id="m", at=at(), conversation=talk.conversation, order=CLOSED_ORDER))


def in_lane(talk: Talk) -> Talk:
    """The same conversation, which goes on in its lane."""
    lanes = talk.scene.kafka.lanes
    return replace(talk, log=topics.address(talk.conversation, retired=True, stored=True, lanes=lanes), last_end=None)


def texts(answer: dict[str, Any]) -> list[str]:
    return [each["text"] for each in answer["history"]["messages"]]


async def closed_with(client: Client) -> int:
    return (await client.closed())[0]


@pytest.mark.parametrize("has_position", [True, False])
async def test_nobody_is_seated_in_a_log_that_was_left(scene: Scene, has_position: bool) -> None:
    """A node that hasn't heard sends its readers on, with or without the closing record's position, until it has."""
    node = await scene.node()
    talk = await scene.talk()
    await talk.stored_turn()
    first = await scene.client(node)
    await first.subscribe(talk.conversation)
    await left(talk)
    position = (await first.hear())["position"] if has_position else None
    assert await closed_with(first) == CloseCode.LOG_MOVED
    for _ in range(2):
        client = await scene.client(node)
        await client.say(type="subscribe", ref=1, conversation=talk.conversation, after=position)
        assert await closed_with(client) == CloseCode.LOG_MOVED
    await scene.announce(talk.conversation, retired=True)
    again, answer = await _seated(scene, node, talk, position)
    assert (answer["recovered"], texts(answer)) == (False, ["hello", "w0 w1 w2 "])
    await in_lane(talk).turn(deltas=0, text="later")
    assert [frame["event"]["type"] for frame in await again.events_until_ended()] == [
        "turn.accepted", "turn.started", "turn.ended",
    ]  # fmt: skip


async def _seated(scene: Scene, node: Node, talk: Talk, after: str | None) -> tuple[Client, dict[str, Any]]:
    """A reader and its answer; the node may have to look once more before it knows."""
    client = await scene.client(node)
    try:
        return client, await client.subscribe(talk.conversation, after)
    except ConnectionClosedError:
        pass
    assert client.socket.close_code == CloseCode.LOG_MOVED
    client = await scene.client(node)
    return client, await client.subscribe(talk.conversation, after)


async def test_a_position_in_a_topic_that_is_gone_gets_all_of_it(scene: Scene) -> None:
    """Away while its conversation was retired and spoke on: history holds what both logs said, then live goes on."""
    node = await scene.node()
    talk = await scene.talk()
    await talk.stored_turn(text="one")
    client = await scene.client(node)
    position = (await client.subscribe(talk.conversation))["position"]
    await client.socket.close()
    await talk.stored_turn(text="two")
    await scene.announce(talk.conversation, retired=True)
    await left(talk)
    await scene.admin.delete([talk.log.topic])
    lane = in_lane(talk)
    await lane.stored_turn(text="three")
    await lane.turn(text="four")  # not stored yet
    again = await scene.client(node)
    answer = await again.subscribe(talk.conversation, position)
    assert not answer["recovered"]
    shown = [*texts(answer)[::2], *(each["text"] for each in answer["history"]["open_turns"])]
    last = await lane.turn(deltas=1, text="five")
    # What the node's tail has not come to yet isn't in the history: it follows as events.
    frames = await again.events(lambda event: event["type"] == "turn.ended" and event["turn"] == last.turn)
    shown += [frame["event"]["text"] for frame in frames if frame["event"]["type"] == "turn.accepted"]
    assert shown == ["one", "two", "three", "four", "five"]


@pytest.mark.parametrize("is_laned", [False, True])
async def test_a_position_that_retention_has_passed_gets_the_history(scene: Scene, is_laned: bool) -> None:
    """Away for longer than the log is kept: the same as for a log that is gone, whichever kind it is.

    At another node: the one that handed the records on may still hold them.
    """
    node = await scene.node()
    talk = await scene.talk(in_lane=is_laned)
    await talk.stored_turn(text="one")
    client = await scene.client(node)
    position = (await client.subscribe(talk.conversation))["position"]
    await client.socket.close()
    await talk.stored_turn(text="two")
    last = await talk.stored_turn(text="three")
    await _cut_off(scene, talk, last.log_end + 1)
    again = await scene.client(await scene.node())
    answer = await again.subscribe(talk.conversation, position)
    assert not answer["recovered"]
    assert texts(answer)[::2] == ["one", "two", "three"]
    await talk.turn(deltas=1, text="four")
    assert (await again.events_until_ended())[0]["event"]["text"] == "four"


async def _cut_off(scene: Scene, talk: Talk, before: int) -> None:
    """Everything below that offset is gone, as retention leaves it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=scene.kafka.bootstrap)
    await admin.start()
    place = TopicPartition(scene.kafka.named(talk.log.topic), talk.log.partition)
    await admin.delete_records({place: RecordsToDelete(before_offset=before)})
    await admin.close()


@pytest.mark.parametrize("is_before", [True, False])
async def test_a_gateway_is_told_of_its_turn_s_log(scene: Scene, is_before: bool) -> None:
    """A turn that was followed in the log that was left is told `conversation.moved`, by its ref, and no more there."""
    node = await scene.node()
    talk = await scene.talk()
    turn = fresh_turn(talk.conversation)
    await talk.stored_turn()
    if not is_before:
        await left(talk)
    gateway = await scene.client(node, token=TOKEN)
    own = {"topic": talk.log.topic, "partition": 0}
    await gateway.say(type="subscribe", ref=turn, conversation=talk.conversation, turn=turn, log=own)
    assert (await gateway.hear())["type"] == "subscribed"
    if is_before:
        await left(talk)
    told = await gateway.hear()
    assert (told["event"]["type"], told["ref"]) == ("conversation.moved", turn)
    assert (await gateway.hear())["type"] == "unsubscribed"
    lane = in_lane(talk)
    there = {"topic": lane.log.topic, "partition": lane.log.partition}
    await gateway.say(type="subscribe", ref=turn, conversation=talk.conversation, turn=turn, log=there)
    assert (await gateway.hear())["type"] == "subscribed"
    accepted = lane.accepted(turn)
    await lane.append_all([accepted, lane.started(turn), lane.ended(accepted, 0)])
    assert [frame["event"]["type"] for frame in await gateway.events_until_ended()] == [
        "turn.accepted", "turn.started", "turn.ended",
    ]  # fmt: skip
