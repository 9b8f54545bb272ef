"""The socket's manners, with the real `websockets` client: who is let in, how it is closed, what is too much."""

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from delivery.node import Node
from delivery.protocol.access import Access
from delivery.transport.connection import Connection
from schemas import identity
from schemas.frames import CloseCode
from schemas.records import MovedLogged
from tests.delivery.scene import LIMIT_S, TENANT, TOKEN, USER, Client, Scene, fresh_turn
from tests.support.waiting import until

GOOD = ("read", "write")


def principal(**narrower: object) -> identity.Principal:
    """Whom a ticket stands for."""
    whole = {"tenant": TENANT, "key_id": "k", "tier": "standard", "scopes": GOOD} | narrower
    return identity.Principal(**whole)  # type: ignore[arg-type]


async def test_who_has_no_key_is_closed_with_4501(scene: Scene) -> None:
    """No token, a wrong key, a revoked key and a broken ticket are refused after the upgrade, as browsers can see."""
    node = await scene.node()
    gone = await scene.make_key(key_id="gone")
    await scene.make_key(key_id="gone", revoked=True)
    for token in ("", "pk_nobody_0123456789abcdef", gone, "pt_a.b"):
        client = await scene.client(node, token=token)
        assert (await client.closed())[0] == CloseCode.UNAUTHENTICATED


async def test_a_new_key_is_good_at_once(scene: Scene) -> None:
    """A key made a moment ago is looked up at the log's end before it is refused."""
    node = await scene.node()
    client = await scene.client(node, token=await scene.make_key())
    await client.say(type="ping", ref="p")
    assert (await client.hear())["type"] == "pong"


async def test_a_revoked_key_ends_its_sockets(scene: Scene) -> None:
    """Who reads by a key is closed when the key is revoked."""
    node = await scene.node()
    key = await scene.make_key(key_id="leaving")
    client = await scene.client(node, token=key)
    await client.say(type="ping", ref=1)
    await client.hear()
    await scene.make_key(key_id="leaving", revoked=True)
    assert (await client.closed())[0] == CloseCode.UNAUTHENTICATED


async def test_a_ticket_opens_one_socket(scene: Scene) -> None:
    """A ticket is good once, not after its minute, and for no more than it says."""
    node = await scene.node()
    await scene.make_key(key_id="k")
    mine, other, foreign = await scene.talk(), await scene.talk(), await scene.talk(user="bob")
    ticket = scene.ticket(principal(user=USER, conversations=(mine.conversation, foreign.conversation)))
    path = f"/v1/stream?ticket={ticket}"
    client = await scene.client(node, token="", path=path)
    assert (await client.subscribe(mine.conversation))["type"] == "subscribed"
    for talk in (other, foreign):
        assert (await client.subscribe(talk.conversation))["code"] == "not_found"
    again = await scene.client(node, token="", path=path)
    assert (await again.closed())[0] == CloseCode.UNAUTHENTICATED
    old = scene.ticket(principal(), lives_ms=-1)
    late = await scene.client(node, token="", path=f"/v1/stream?ticket={old}")
    assert (await late.closed())[0] == CloseCode.UNAUTHENTICATED


async def test_an_expired_socket_is_closed_unless_renewed(scene: Scene) -> None:
    """A ticket's socket ends with 4004 at its time; `authenticate` with a fresh ticket lets it live on."""
    node = await scene.node(socket_s=1.5)
    await scene.make_key(key_id="k")
    left = await scene.client(node, token="", path=f"/v1/stream?ticket={scene.ticket(principal())}")
    kept = await scene.client(node, token="", path=f"/v1/stream?ticket={scene.ticket(principal())}")
    await kept.say(type="authenticate", token=scene.key)
    assert (await left.closed())[0] == CloseCode.TOKEN_EXPIRED
    await kept.say(type="ping", ref=1)
    assert (await kept.hear())["type"] == "pong"
    await kept.say(type="authenticate", ref="x", token="pk_no_0123456789abcdef")
    assert (await kept.hear())["code"] == "unauthenticated"
    await kept.say(type="authenticate", ref="y", token=await scene.make_key(tenant="other"))
    assert (await kept.hear())["code"] == "forbidden"


async def test_strangers_see_no_conversation(scene: Scene) -> None:
    """Another tenant's conversation, a deleted one and one that never was look alike; a key without `read` is told."""
    node = await scene.node()
    talk, deleted = await scene.talk(), await scene.talk()
    await scene.announce(deleted.conversation, deleted=True)
    stranger = await scene.client(node, token=await scene.make_key(tenant="other"))
    for conversation in (talk.conversation, deleted.conversation, "conv_" + "0" * 32):
        assert (await stranger.subscribe(conversation))["code"] == "not_found"
    writer = await scene.client(node, token=await scene.make_key(scopes=("write",)))
    assert (await writer.subscribe(talk.conversation))["code"] == "forbidden"


async def test_readers_of_a_deleted_conversation_are_told(scene: Scene) -> None:
    """Who reads a conversation that is deleted gets `not_found` for it and nothing more of it."""
    node = await scene.node()
    talk = await scene.talk()
    client = await scene.client(node)
    await client.subscribe(talk.conversation)
    await scene.announce(talk.conversation, deleted=True)
    assert (await client.hear())["code"] == "not_found"


async def test_foreign_pages_are_refused(scene: Scene) -> None:
    """A foreign Origin gets 403 before the upgrade; no Origin, the node's own host and a listed one are let in."""
    node = await scene.node(origins=("https://chat.example",))
    with pytest.raises(InvalidStatus) as refused:
        await scene.client(node, origin="https://evil.example")
    assert refused.value.response.status_code == 403
    for origin in ("https://chat.example", "http://localhost:8080", f"http://127.0.0.1:{node.port}"):
        client = await scene.client(node, origin=origin)
        await client.say(type="ping", ref=1)
        assert (await client.hear())["type"] == "pong"


async def test_subprotocol_is_ours_or_none(scene: Scene) -> None:
    """`parley.v1+json` is answered where it is offered; a client that offers none is served alike; else 404."""
    node = await scene.node()
    client = await scene.client(node)
    assert client.socket.subprotocol == "parley.v1+json"
    headers = {"Authorization": f"Bearer {scene.key}"}
    async with connect(f"ws://127.0.0.1:{node.port}/v1/stream", additional_headers=headers) as bare:
        assert bare.subprotocol is None
        await bare.send('{"type":"ping","ref":7}')
        assert json.loads(await bare.recv())["ref"] == 7
    with pytest.raises(InvalidStatus) as refused:
        await scene.client(node, path="/v1/other")
    assert refused.value.response.status_code == 404


@pytest.mark.parametrize("message", ["no json", "[]", '{"ref":1}', b"binary", "x" * (1024 * 1024 + 1)])
async def test_who_speaks_another_language_is_closed_with_4500(scene: Scene, message: str | bytes) -> None:
    """What is no frame of this protocol ends the connection for good."""
    node = await scene.node()
    client = await scene.client(node)
    await client.socket.send(message)
    assert (await client.closed())[0] == CloseCode.BAD_FRAME


async def test_a_faulty_frame_is_an_error_and_no_end(scene: Scene) -> None:
    """A frame of an unknown type or with a wrong field is answered by `error` with its ref; the connection goes on."""
    node = await scene.node()
    client = await scene.client(node)
    for frame in (
        {"type": "dance", "ref": "a"},
        {"type": "subscribe", "ref": "a"},
        {"type": "stop", "ref": "a", "turn": 3},
    ):
        await client.say(**frame)
        answer = await client.hear()
        assert (answer["type"], answer["ref"], answer["code"]) == ("error", "a", "invalid_request")
    await client.say(type="subscribe", ref="a", conversation="conv_x")
    assert (await client.hear())["code"] == "invalid_request"
    await client.say(type="subscribe", ref="a", conversation="conv_" + "0" * 32, log={"topic": "t", "partition": 0})
    assert (await client.hear())["code"] == "forbidden"


async def test_send_and_stop_go_to_a_gateway(scene: Scene) -> None:
    """A gateway gets the principal and the frame, in the order of sending; its answer and its errors come back."""
    node = await scene.node()
    client = await scene.client(node)
    talk = await scene.talk()
    turn = fresh_turn(talk.conversation)
    scene.gateway.answers["/internal/send"] = (
        200, {"type": "accepted", "ref": None, "conversation": talk.conversation, "turn": turn},
    )  # fmt: skip
    for number in range(5):
        await client.say(type="send", ref=number, conversation=talk.conversation, text=f"t{number}")
    answers = [await client.hear() for _ in range(5)]
    assert [each["ref"] for each in answers] == [0, 1, 2, 3, 4]
    assert answers[0] == {"type": "accepted", "ref": 0, "conversation": talk.conversation, "turn": turn}
    assert [body["send"]["text"] for _, body, _ in scene.gateway.handed] == [f"t{number}" for number in range(5)]
    _, body, authorization = scene.gateway.handed[0]
    assert authorization == f"Bearer {TOKEN}"
    assert body["principal"]["tenant"] == TENANT
    scene.gateway.answers["/internal/stop"] = (
        404, {"type": "error", "ref": None, "code": "not_found", "message": "no such turn", "retriable": False},
    )  # fmt: skip
    await client.say(type="stop", ref="s", turn=turn)
    assert await client.hear() == {
        "type": "error", "ref": "s", "code": "not_found", "message": "no such turn", "retriable": False,
    }  # fmt: skip


async def test_without_a_gateway_a_send_is_unavailable(scene: Scene) -> None:
    """A send that no gateway can take is an error that may be repeated; reading goes on."""
    scene.gateway.url = "http://127.0.0.1:9"
    node = await scene.node()
    client = await scene.client(node)
    await client.say(type="send", ref=1, text="hello")
    answer = await client.hear()
    assert (answer["code"], answer["retriable"]) == ("unavailable", True)


async def test_unsubscribe_ends_the_events(scene: Scene) -> None:
    """After `unsubscribed` no event of the conversation follows; another one's go on; subscribing twice begins anew."""
    node = await scene.node()
    client = await scene.client(node)
    talk, other = await scene.talk(), await scene.talk()
    await client.subscribe(talk.conversation)
    await client.subscribe(talk.conversation)
    await client.subscribe(other.conversation)
    await talk.turn(deltas=0)
    assert len(await client.events_until_ended()) == 3
    await client.say(type="unsubscribe", ref="u", conversation=talk.conversation)
    assert await client.hear() == {"type": "unsubscribed", "ref": "u", "conversation": talk.conversation}
    await talk.turn()
    await other.turn(deltas=0)
    frames = await client.events_until_ended()
    assert {frame["conversation"] for frame in frames} == {other.conversation}


async def test_a_moved_log_closes_with_4002(scene: Scene) -> None:
    """Readers see `conversation.moved` and are closed; they come back to the lane, with their history."""
    node = await scene.node()
    talk = await scene.talk()
    await talk.stored_turn()
    client = await scene.client(node)
    position = (await client.subscribe(talk.conversation))["position"]
    await scene.announce(talk.conversation, retired=True)
    await talk.append(MovedLogged(id="m", at="2026-01-01T00:00:00.000Z", conversation=talk.conversation, order=99))
    frame = await client.hear()
    assert frame["event"]["type"] == "conversation.moved"
    assert (await client.closed())[0] == CloseCode.LOG_MOVED
    answer: dict[str, Any] = {"recovered": True}
    while answer["recovered"]:  # until the node has heard where the conversation is now, it sends the reader on again
        again = await scene.client(node)
        answer = await again.subscribe(talk.conversation, position)
        if answer["recovered"]:
            assert (await again.hear())["event"]["type"] == "conversation.moved"
            assert (await again.closed())[0] == CloseCode.LOG_MOVED
    assert [each["text"] for each in answer["history"]["messages"]] == ["hello", "w0 w1 w2 "]


async def test_a_draining_node_sends_everybody_away(scene: Scene) -> None:
    """At the end of a node its clients are closed with 4000 and told when to come back, and nobody new is taken."""
    node = await scene.node()
    clients = [await scene.client(node) for _ in range(30)]
    port = node.port
    await asyncio.gather(node.drain(), *(each.closed() for each in clients))
    for each in clients:
        code, reason = await each.closed()
        assert code == CloseCode.GOING_AWAY
        assert reason.startswith("retry_ms=")
    with pytest.raises(ConnectionRefusedError):
        await connect(f"ws://127.0.0.1:{port}/v1/stream")


async def test_a_draining_nodes_clients_are_sent_away_one_after_the_other(scene: Scene) -> None:
    """Clients that all came back at once would be too many for the other nodes: closes and waits are spread."""
    node = await scene.node(drain_spread_s=2.0)
    clients = [await scene.client(node) for _ in range(40)]
    closed: list[str] = []

    async def note(client: Client) -> None:
        _, reason = await client.closed()
        if not closed:
            assert sum(each.socket.close_code is None for each in clients) > len(clients) / 2
        closed.append(reason)

    await asyncio.gather(node.drain(), *map(note, clients))
    waits_ms = {int(reason.removeprefix("retry_ms=")) for reason in closed}
    assert max(waits_ms) <= 2000
    assert len(waits_ms) > len(clients) / 2


async def test_a_node_takes_so_many_sockets_of_all_tenants(scene: Scene) -> None:
    """Beyond the node's bound a socket is told to come back later, whoever it is; a gateway's isn't."""
    node = await scene.node(max_connections=2)
    for token in (scene.key, await scene.make_key(tenant="another")):
        client = await scene.client(node, token=token)
        await client.say(type="ping", ref=1)
        await client.hear()
    third = await scene.make_key(tenant="a_third")
    code, reason = await (await scene.client(node, token=third)).closed()
    assert code == CloseCode.TOO_MANY_CONNECTIONS
    assert reason.startswith("retry_ms=")
    internal = await scene.client(node, token=TOKEN)
    await internal.say(type="ping", ref=1)
    assert (await internal.hear())["type"] == "pong"


async def test_too_many_of_a_tenant_are_closed_with_4003(scene: Scene) -> None:
    """Beyond a tenant's bound a socket is told to come back later; a place that becomes free is given again."""
    node = await scene.node(max_tenant_connections=2)
    first, second = await scene.client(node), await scene.client(node)
    for each in (first, second):
        await each.say(type="ping", ref=1)
        await each.hear()
    assert (await (await scene.client(node)).closed())[0] == CloseCode.TOO_MANY_CONNECTIONS
    await first.socket.close()
    async with asyncio.timeout(LIMIT_S):
        while True:
            client = await scene.client(node)
            await client.say(type="ping", ref=1)
            try:
                assert (await client.hear())["type"] == "pong"
                break
            except ConnectionClosed:
                continue


async def test_who_left_before_it_was_let_in_takes_no_place(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that is cut while its token is checked isn't counted for its tenant when the check is done."""
    node = await scene.node(max_tenant_connections=1)
    server = node._server
    may_go_on = asyncio.Event()
    checked: asyncio.Queue[None] = asyncio.Queue()
    access = server.access

    async def slow(token: str | None) -> Access:
        checked.put_nowait(None)
        await may_go_on.wait()
        return await access(token)

    monkeypatch.setattr(server, "access", slow)
    leaving = await scene.client(node)
    async with asyncio.timeout(LIMIT_S):
        await checked.get()
    leaving.socket.transport.abort()

    async def is_gone() -> bool:
        return len(server) == 0

    await until(is_gone, limit_s=LIMIT_S)
    may_go_on.set()
    client = await scene.client(node)
    await client.say(type="ping", ref=1)
    assert (await client.hear())["type"] == "pong"


async def test_a_silent_node_says_that_it_lives(scene: Scene) -> None:
    """After the set silence `alive` comes by itself, with the time."""
    node = await scene.node(alive_s=0.5)
    client = await scene.client(node)
    frame = await client.hear()
    assert frame["type"] == "alive"
    assert frame["at"].endswith("Z")


async def test_who_stops_reading_is_cut_and_hurts_nobody(scene: Scene) -> None:
    """A reader that reads nothing is closed with 4001 at its bound, while another gets every event as it comes."""
    node = await scene.node(outbox_bytes=64 * 1024)
    talk = await scene.talk()
    stuck = await scene.client(node, max_queue=1)
    await stuck.subscribe(talk.conversation)
    stuck.socket.transport.pause_reading()
    reader = await scene.client(node)
    await reader.subscribe(talk.conversation)
    turn = fresh_turn(talk.conversation)
    accepted = talk.accepted(turn)
    await talk.append_all([accepted, talk.started(turn)])
    behind = server_side(node, stuck)
    text = "x" * 8000
    for start in range(0, 1000, 50):
        await talk.append_all([talk.delta(turn, seq, text) for seq in range(start, start + 50)])
        last = start + 49
        frames = await reader.events(lambda event, last=last: bool(event.get("seq") == last))  # type: ignore[misc]
        shown = [frame["event"]["seq"] for frame in frames if frame["event"]["type"] == "turn.delta"]
        assert shown == list(range(start, start + 50))
        # Its bound, and what one batch of the tail may bring before it is looked at.
        assert behind.dialogue.outbox.bytes <= 64 * 1024 + 50 * 9000
        if behind.dialogue.closing is not None:
            break
    assert behind.dialogue.closing is not None
    assert behind.dialogue.closing.code == CloseCode.TOO_SLOW
    assert behind.dialogue.outbox.bytes == 0
    stuck.socket.transport.resume_reading()
    assert (await stuck.closed())[0] == CloseCode.TOO_SLOW


def server_side(node: Node, client: Client) -> Connection:
    """The node's end of a client's socket."""
    port = client.socket.local_address[1]
    ends = node._server._connections
    return next(each for each in ends if each._transport.get_extra_info("peername")[1] == port)  # type: ignore[union-attr]
