"""A connection over a transport in memory: what can't be timed well with a real socket."""

import asyncio
from typing import Any, cast

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from delivery.protocol.access import Access
from delivery.protocol.closing import Cause
from delivery.protocol.dialogue import Bounds, Dialogue, Join
from delivery.transport.connection import Connection, Limits
from schemas.errors import KafkaUnavailable, Unauthenticated
from schemas.frames import Send, Stop, Stopping
from schemas.identity import Principal
from tests.support.waiting import until

WHO = Principal(tenant="acme", key_id="k", tier="t", scopes=("read", "write"))


class Transport:
    """Keeps what is written; says when it was let go."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = self.is_aborted = False

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def get_extra_info(self, _name: str) -> None:
        return None

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True


class Node:
    """A node with one connection."""

    def __init__(self, **limits: Any) -> None:
        self.limits = Limits(**limits)
        self.allowed_origins: tuple[str, ...] = ()
        self.open: list[Connection] = []
        self.touched: list[Dialogue] = []
        self.joined: list[Join] = []
        self.left: list[object] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.outcome: Access | Exception = Access(principal=WHO)
        self.has_room = True
        self.gate = asyncio.Event()
        self.handed: list[Send | Stop] = []

    def opened(self, connection: Connection) -> None:
        self.open.append(connection)

    def closed(self, connection: Connection) -> None:
        self.open.remove(connection)

    def room(self, _connection: Connection, _access: Access) -> bool:
        return self.has_room

    def dialogue(self) -> Dialogue:
        return Dialogue(Bounds(), self.touched)

    def wall_ms(self) -> int:
        return 1000

    def retry_ms(self) -> int:
        return 5

    async def access(self, _token: str | None) -> Access:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def join(self, _dialogue: Dialogue, command: Join) -> None:
        self.joined.append(command)

    def leave(self, subscription: object) -> None:
        self.left.append(subscription)

    async def hand(self, _access: Access, frame: Send | Stop) -> object:
        self.handed.append(frame)
        await self.gate.wait()
        return Stopping(ref=frame.ref, turn=None, conversation="c")

    def spawn(self, work: Any, name: str) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    def flush(self) -> None:
        while self.touched:
            dialogue = self.touched.pop()
            dialogue.is_touched = False
            dialogue.owner.flush()


class Pair:
    """A connection and the client's half of its protocol."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.transport = Transport()
        self.connection = Connection(node)
        self.connection.connection_made(cast("asyncio.BaseTransport", self.transport))
        self.client = ClientProtocol(parse_uri("ws://127.0.0.1/v1/stream"))
        self.frames: list[Frame] = []
        self.client.send_request(self.client.connect())
        self.pump()

    def pump(self) -> None:
        """Carry bytes both ways."""
        for data in self.client.data_to_send():
            if data:
                self.connection.data_received(data)
        written, self.transport.written = self.transport.written, b""
        if written:
            self.client.receive_data(written)
            self.frames += [each for each in self.client.events_received() if isinstance(each, Frame)]

    async def admitted(self) -> None:
        """Wait for the admission's end."""
        await asyncio.gather(*self.node.tasks)
        self.pump()

    def say(self, text: bytes) -> None:
        """A text message of the client."""
        self.client.send_text(text)
        self.pump()

    def texts(self) -> list[bytes]:
        """Text messages that came."""
        return [bytes(frame.data) for frame in self.frames if frame.opcode is Opcode.TEXT]

    @property
    def code(self) -> int | None:
        """The close code that came."""
        return self.client.close_rcvd.code if self.client.close_rcvd is not None else None


async def opened(**limits: Any) -> Pair:
    """A pair past its admission."""
    pair = Pair(Node(**limits))
    await pair.admitted()
    return pair


async def test_frames_may_come_in_pieces() -> None:
    """A message in fragments is one message; bytes of a frame may come one by one; a binary one ends it."""
    pair = await opened()
    pair.client.send_text(b'{"type":', fin=False)
    pair.client.send_continuation(b'"ping"}', fin=True)
    [*data] = pair.client.data_to_send()
    for byte in b"".join(data):
        pair.connection.data_received(bytes((byte,)))
    pair.pump()
    assert b"pong" in pair.texts()[0]
    pair.client.send_binary(b"x")
    pair.pump()
    assert pair.code == 4500


@pytest.mark.parametrize(
    ("outcome", "code"), [(Unauthenticated("no"), 4501), (KafkaUnavailable("away"), 4000), (None, 4003)]
)
async def test_who_is_not_let_in_is_told_by_a_code(outcome: Exception | None, code: int) -> None:
    """A bad token stays away; an outage or a full node asks to come back."""
    node = Node()
    if outcome is None:
        node.has_room = False
    else:
        node.outcome = outcome
    pair = Pair(node)
    await pair.admitted()
    assert pair.code == code


async def test_a_paused_socket_gathers_and_then_goes_on() -> None:
    """While the client doesn't read, answers wait in the outbox and writers wait for `drained`; then all goes out."""
    pair = await opened()
    pair.connection.pause_writing()
    waiting = asyncio.create_task(pair.connection.drained())
    pair.say(b'{"type":"ping","ref":1}')
    assert pair.texts() == []
    assert not waiting.done()
    pair.connection.resume_writing()
    await waiting
    pair.pump()
    assert b'"ref":1' in pair.texts()[0]
    await pair.connection.drained()


async def test_a_close_waits_for_what_is_before_it_and_not_for_ever() -> None:
    """A close comes behind the outbox; a client that never reads is dropped after the linger."""
    pair = await opened()
    pair.connection.pause_writing()
    pair.say(b'{"type":"ping","ref":1}')
    pair.connection.end(Cause.DRAINING, "retry_ms=5")
    assert pair.connection.closes_at_s is not None
    pair.connection.look(pair.connection.closes_at_s - 0.1)
    assert not pair.transport.is_aborted
    pair.connection.resume_writing()
    pair.pump()
    assert (pair.texts()[0][:15], pair.code) == (b'{"type":"pong",', 4000)
    pair.connection.look(pair.connection.closes_at_s)
    assert pair.transport.is_aborted


async def test_silence_is_pinged_and_then_cut() -> None:
    """A client that says nothing is pinged once, and dropped after twice that time; one that answers is kept."""
    pair = await opened(ping_s=30.0, alive_s=1000.0)
    start = pair.connection.heard_at_s
    pair.connection.look(start + 31)
    pair.connection.look(start + 32)
    pair.pump()
    assert [frame.opcode for frame in pair.frames] == [Opcode.PING]
    pair.pump()
    assert not pair.connection.is_pinged  # its pong came
    pair.connection.look(pair.connection.heard_at_s + 61)
    assert pair.transport.is_aborted


async def test_a_handshake_that_never_comes_is_dropped() -> None:
    """A socket that doesn't open, and an admission that doesn't end, are not kept."""
    node = Node(opening_s=10.0)
    connection, transport = Connection(node), Transport()
    connection.connection_made(cast("asyncio.BaseTransport", transport))
    connection.look(connection.opened_at_s + 11)
    assert transport.is_aborted
    pair = Pair(Node(opening_s=10.0))
    pair.connection.look(pair.connection.opened_at_s + 11)
    pair.pump()
    assert pair.code == 4000


async def test_words_are_handed_one_after_the_other() -> None:
    """The second send waits for the first one's answer; the answers come in order."""
    pair = await opened()
    for ref in (1, 2):
        pair.say(b'{"type":"send","text":"x","ref":%d}' % ref)

    async def first_is_there() -> bool:
        return len(pair.node.handed) == 1

    await until(first_is_there)
    pair.node.gate.set()
    await asyncio.gather(*pair.node.tasks)
    pair.pump()
    assert [text[:27] for text in pair.texts()] == [b'{"type":"stopping","ref":%d,' % ref for ref in (1, 2)]
    assert pair.connection.dialogue.handed == 0


async def test_a_lost_socket_leaves_its_conversations() -> None:
    """When the socket goes, its subscriptions go, and whoever waits for it is let go."""
    pair = await opened()
    pair.say(b'{"type":"subscribe","conversation":"conv_%s"}' % (b"1" * 32))
    await asyncio.gather(*pair.node.tasks)
    pair.connection.pause_writing()
    waiting = asyncio.create_task(pair.connection.drained())
    await asyncio.sleep(0)
    pair.connection.connection_lost(None)
    await waiting
    assert [command.subscription for command in pair.node.joined] == pair.node.left
    assert pair.node.open == []


async def test_a_clients_own_close_is_echoed() -> None:
    """A client that closes gets its code back, and the socket is let go."""
    pair = await opened()
    pair.client.send_close(1000)
    pair.pump()
    assert pair.code == 1000
    assert pair.transport.is_closed
