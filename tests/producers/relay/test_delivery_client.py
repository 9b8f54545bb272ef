"""The client against a WebSocket server that does as it is told: cuts, refusals, repeats."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

from producers.relay.delivery_client import DeliveryClient, stream_url
from producers.relay.port import DeliveryUnavailable
from schemas import codec, ids, topics
from schemas.errors import NotFound
from schemas.fold import CLOSED_ORDER
from schemas.records import MovedLogged, Record
from tests.producers.support import records
from tests.producers.support.asked import TURN, requested

ASKED = requested()
LOG = ASKED.request.log


class Told:
    """A delivery node that answers by hand."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sockets: list[ServerConnection] = []
        self.server: Server | None = None
        self.confirms = True

    async def serve(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        async for raw in socket:
            frame = codec.parse(raw)
            self.frames.put_nowait(frame)
            if frame["type"] == "subscribe" and self.confirms:
                await self.say({"type": "subscribed", "ref": frame["ref"], "conversation": frame["conversation"]})

    async def say(self, frame: dict[str, Any]) -> None:
        await self.sockets[-1].send(codec.encode(frame).decode())

    async def tell(self, record: Record, position: str) -> None:
        event = codec.parse(codec.encode(record))
        await self.say({"type": "event", "conversation": record.conversation, "position": position, "event": event})

    async def frame(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.frames.get(), 10)


@pytest.fixture
async def node() -> AsyncIterator[Told]:
    told = Told()
    told.server = await serve(told.serve, "127.0.0.1", 0)
    yield told
    told.server.close()
    await told.server.wait_closed()


@pytest.fixture
async def client(node: Told) -> AsyncIterator[DeliveryClient]:
    assert node.server is not None
    port = next(iter(node.server.sockets)).getsockname()[1]
    made = DeliveryClient([f"http://127.0.0.1:{port}"], "token", lanes=4)
    made.start()
    yield made
    await made.stop()


async def test_a_turn_is_followed_before_it_exists(client: DeliveryClient, node: Told) -> None:
    """Following returns when the node has confirmed; events come as they are told; leaving is said."""
    following = await client.follow(TURN, LOG, within_s=10)
    frame = await node.frame()
    assert (frame["turn"], frame["ref"], frame["after"]) == (TURN, TURN, None)
    assert frame["log"] == {"topic": LOG.topic, "partition": LOG.partition}
    await node.tell(records.accepted(ASKED), "p1")
    [(record, last_seq)] = await following.next(10)
    assert (record, last_seq) == (records.accepted(ASKED), None)
    following.close()
    assert (await node.frame())["type"] == "unsubscribe"


async def test_after_a_cut_it_goes_on_behind_the_last_position(client: DeliveryClient, node: Told) -> None:
    """On a new connection every followed turn is taken up where it was, and repeats are dropped."""
    following = await client.follow(TURN, LOG, within_s=10)
    await node.frame()
    await node.tell(records.accepted(ASKED), "p1")
    await node.tell(records.started(ASKED), "p2")
    seen = 0
    while seen < 2:
        seen += len(await following.next(10))
    await node.sockets[-1].close(4000)
    frame = await node.frame()
    assert (frame["type"], frame["after"]) == ("subscribe", "p2")
    await node.tell(records.started(ASKED), "p2")
    await node.tell(records.delta(ASKED, 0, "a"), "p3")
    [(record, _)] = await following.next(10)
    assert record.id == records.delta(ASKED, 0, "a").id


async def test_a_turn_whose_log_was_closed_is_followed_to_the_lane(client: DeliveryClient, node: Told) -> None:
    """The conversation left its own topic before the turn began: it is followed from its beginning in the lane."""
    conversation = ids.conversation_of(TURN)
    own = topics.address(conversation, retired=False, stored=True, lanes=4)
    lane = topics.address(conversation, retired=True, stored=True, lanes=4)
    following = await client.follow(TURN, own, within_s=10)
    assert (await node.frame())["log"]["topic"] == own.topic
    moved = MovedLogged(id="m", at=ASKED.at, conversation=conversation, order=CLOSED_ORDER)
    for _ in range(2):
        event = codec.parse(codec.encode(moved))
        await node.say({"type": "event", "conversation": conversation, "position": "p", "ref": TURN, "event": event})
        await node.say({"type": "unsubscribed", "conversation": conversation, "ref": TURN})
    frame = await node.frame()
    assert (frame["log"], frame["after"]) == ({"topic": lane.topic, "partition": lane.partition}, None)
    await node.tell(records.accepted(ASKED), "p1")
    [(record, _)] = await following.next(10)
    assert record == records.accepted(ASKED)
    assert node.frames.empty()
    following.close()


async def test_a_gap_is_read_again_from_the_beginning(client: DeliveryClient, node: Told) -> None:
    """Events that leave something out make the client ask for the turn's beginning."""
    following = await client.follow(TURN, LOG, within_s=10)
    await node.frame()
    await node.tell(records.accepted(ASKED), "p1")
    await node.tell(records.delta(ASKED, 3, "x"), "p9")
    frame = await node.frame()
    assert (frame["type"], frame["after"]) == ("subscribe", None)
    following.close()


async def test_a_refused_subscription_is_tried_again(client: DeliveryClient, node: Told) -> None:
    """A node that can't read a log at present is asked again."""
    node.confirms = False
    following = asyncio.create_task(client.follow(TURN, LOG, within_s=10))
    frame = await node.frame()
    node.confirms = True
    await node.say(
        {"type": "error", "ref": frame["ref"], "code": "unavailable", "message": "not now", "retriable": True}
    )
    (await following).close()


async def test_a_deleted_conversation_is_told(client: DeliveryClient, node: Told) -> None:
    """Who reads a turn whose conversation is deleted is told so, and doesn't wait for an end that nobody will see."""
    following = await client.follow(TURN, LOG, within_s=10)
    frame = await node.frame()
    await node.say({"type": "error", "ref": frame["ref"], "code": "not_found", "message": "gone", "retriable": False})
    with pytest.raises(NotFound, match="gone"):
        await following.next(10)


async def test_a_silent_node_is_not_waited_for_for_ever(client: DeliveryClient, node: Told) -> None:
    """Without a confirmation nothing is promised."""
    node.confirms = False
    with pytest.raises(DeliveryUnavailable):
        await client.follow(TURN, LOG, within_s=0.05)


async def test_stopping_ends_every_reading(client: DeliveryClient, node: Told) -> None:
    """Who waits for more is told that nothing more will come."""
    following = await client.follow(TURN, LOG, within_s=10)
    waiting = asyncio.create_task(following.next(10))
    await asyncio.sleep(0)
    await client.stop("the gateway is going away")
    with pytest.raises(DeliveryUnavailable, match="going away"):
        await waiting
    with pytest.raises(DeliveryUnavailable):
        await client.follow(TURN, LOG, within_s=1)


def test_urls_of_nodes() -> None:
    """A node's base URL is a WebSocket's, whichever way it is written."""
    assert stream_url("http://h:1") == stream_url("ws://h:1/v1/stream") == "ws://h:1/v1/stream"
    assert stream_url("https://h/") == "wss://h/v1/stream"
