"""A delivery node on real Kafka and Cassandra, a gateway's internal side, and conversations as the gate writes them."""

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from aiohttp import web
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError
from websockets.typing import Subprotocol

from delivery.main import build
from delivery.node import Node
from delivery.settings import DeliverySettings
from infra.runtime.cassandra import CassandraSettings, Store
from infra.runtime.internal_settings import InternalSettings
from infra.runtime.kafka import Appender, Placed
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.kafka_topics import TopicAdmin
from infra.runtime.metrics import Metrics
from infra.runtime.turn_store import TurnStore
from schemas import codec, identity, ids, instants, projection, topics
from schemas.fold import TurnFold
from schemas.frames import SUBPROTOCOL
from schemas.ids import ConversationId, TurnId
from schemas.records import (
    ConversationChanged,
    KeyChanged,
    LogRecord,
    Record,
    TurnAccepted,
    TurnCompleted,
    TurnDelta,
    TurnEnded,
    TurnStarted,
)
from schemas.turns import LogAddress, Reason
from tests.support import samples

TOKEN = "an internal token for tests"
TENANT = "acme"
USER = "ada"
LIMIT_S = 20.0


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def at() -> str:
    """Now, as records say it."""
    return instants.from_ms(now_ms())


def fresh_conversation() -> ConversationId:
    """An id as a gateway makes one."""
    return ids.conversation_id(ids.uuid7_hex(now_ms(), uuid.uuid4().bytes))


def fresh_turn(conversation: ConversationId) -> TurnId:
    """An id as a gateway makes one."""
    return ids.turn_id(conversation, ids.uuid7_hex(now_ms(), uuid.uuid4().bytes))


@dataclass
class Talk:
    """A conversation, and its log as the gate and a worker write it."""

    scene: "Scene"
    conversation: ConversationId
    log: LogAddress
    is_stored: bool = True
    orders: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    last_end: int | None = None

    async def append(self, record: LogRecord | Record) -> Placed:
        """Append to the conversation's log."""
        return await self.scene.appender.append(
            self.log.topic, record, partition=self.log.partition, key=self.conversation
        )

    async def append_all(self, records: Sequence[Record]) -> list[Placed]:
        """Append in order, acks gathered."""
        futures = [
            await self.scene.appender.send(self.log.topic, each, partition=self.log.partition, key=self.conversation)
            for each in records
        ]
        return list(await asyncio.gather(*futures))

    def accepted(self, turn: TurnId, text: str = "hello") -> TurnAccepted:
        """The gate's record."""
        record: TurnAccepted = samples.sample(TurnAccepted)
        return replace(
            record, id=f"{turn}.accepted", at=at(), tenant=TENANT, conversation=self.conversation, turn=turn,
            attempt=None, order=next(self.orders), text=text, user=USER, parent=None, client_key=None,
            n=next(self.numbers), stored=self.is_stored,
        )  # fmt: skip

    def started(self, turn: TurnId, attempt: int = 1) -> TurnStarted:
        """A worker's claim."""
        record: TurnStarted = samples.sample(TurnStarted)
        return replace(
            record, id=uuid.uuid4().hex, at=at(), tenant=TENANT, conversation=self.conversation, turn=turn,
            attempt=attempt,
        )  # fmt: skip

    def delta(self, turn: TurnId, seq: int, text: str | None = None, attempt: int = 1) -> TurnDelta:
        """A piece of the answer."""
        return TurnDelta(
            id=f"{turn}.{attempt}.{seq}", at=at(), tenant=TENANT, conversation=self.conversation, turn=turn,
            attempt=attempt, seq=seq, text=f"w{seq} " if text is None else text, token_ids=(seq,), tokens=1,
        )  # fmt: skip

    def ended(self, accepted: TurnAccepted, seq: int, attempt: int = 1, reason: Reason = Reason.STOP) -> TurnEnded:
        """The end."""
        record: TurnEnded = samples.sample(TurnEnded)
        return replace(
            record, id=f"{accepted.turn}.{attempt}.ended", at=at(), tenant=TENANT, conversation=self.conversation,
            turn=accepted.turn, attempt=attempt, seq=seq, reason=reason, error=None, user=USER, accepted_at=accepted.at,
            n=accepted.n, parent=accepted.parent, input_text=accepted.text, interventions=(), stored=self.is_stored,
            log_start=self.last_end, detail=replace(record.detail, refusal=None, error=None),
        )  # fmt: skip

    async def turn(self, deltas: int = 3, text: str = "hello") -> TurnCompleted:
        """A whole turn in the log, not in the store; returns its record."""
        turn = fresh_turn(self.conversation)
        accepted = self.accepted(turn, text)
        pieces = [self.delta(turn, seq) for seq in range(deltas)]
        records = [accepted, self.started(turn), *pieces, self.ended(accepted, deltas)]
        placed = await self.append_all(records)
        fold = TurnFold(turn)
        for record, place in zip(records, placed, strict=True):
            fold.take(record, place.offset)
        self.last_end = placed[-1].offset
        return projection.completed(fold, self.log)

    async def stored_turn(self, deltas: int = 3, text: str = "hello") -> TurnCompleted:
        """A whole turn in log and store."""
        completed = await self.turn(deltas, text)
        await self.scene.turns.save_turn(completed)
        return completed


class Listening(Protocol):
    """A node, in this process or another."""

    @property
    def port(self) -> int:
        """The stream's."""


class Client:
    """A reader with the real `websockets` client; frames as plain values."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.refs = itertools.count(1)

    async def say(self, **frame: Any) -> None:
        """Send a frame."""
        await self.socket.send(json.dumps(frame))

    async def hear(self) -> dict[str, Any]:
        """The next frame."""
        async with asyncio.timeout(LIMIT_S):
            frame: dict[str, Any] = json.loads(await self.socket.recv())
            return frame

    async def subscribe(self, conversation: str, after: str | None = None, **more: Any) -> dict[str, Any]:
        """Subscribe and return the answer."""
        await self.say(type="subscribe", ref=f"s{next(self.refs)}", conversation=conversation, after=after, **more)
        return await self.hear()

    async def events_until_ended(self) -> list[dict[str, Any]]:
        """Event frames up to the end of a turn."""
        return await self.events(lambda event: event["type"] == "turn.ended")

    async def events(self, is_last: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Event frames up to, and with, the one that is the last."""
        found = []
        while True:
            frame = await self.hear()
            assert frame["type"] == "event", frame
            found.append(frame)
            if is_last(frame["event"]):
                return found

    async def closed(self) -> tuple[int, str]:
        """Read to the end; the close code and reason."""
        async with asyncio.timeout(LIMIT_S):
            with suppress(ConnectionClosedError):
                async for _ in self.socket:
                    pass
        return self.socket.close_code or 0, self.socket.close_reason or ""


@dataclass
class Gateway:
    """The internal side of a gateway: remembers what it was handed and answers as told."""

    url: str = ""
    handed: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)
    answers: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)

    async def answer(self, request: web.Request) -> web.Response:
        """One handed frame."""
        self.handed.append((request.path, await request.json(), request.headers.get("Authorization", "")))
        status, body = self.answers[request.path]
        return web.json_response(body, status=status)


@dataclass
class Scene:
    """What a test of delivery has at hand."""

    kafka: KafkaSettings
    cassandra: CassandraSettings
    appender: Appender
    admin: TopicAdmin
    turns: TurnStore
    gateway: Gateway
    stack: AsyncExitStack
    key: str = ""
    sockets: list[ClientConnection] = field(default_factory=list)

    async def node(self, **settings: Any) -> Node:
        """A started node that is connected."""
        chosen = DeliverySettings(port=0, gateways=(self.gateway.url,), **{"drain_spread_s": 0.1, **settings})
        node = build(chosen, InternalSettings(token=TOKEN), self.kafka, self.cassandra, Metrics("delivery"))
        await node.start()
        self.stack.push_async_callback(node.stop)
        watching = asyncio.create_task(node.watch())
        self.stack.push_async_callback(_ended, watching)
        await node.connected()
        await node._store.connected()
        return node

    async def client(
        self, node: Listening, *, token: str | None = None, path: str = "/v1/stream", **more: Any
    ) -> Client:
        """A connected client, by the scene's key unless told."""
        headers = {"Authorization": f"Bearer {token or self.key}"} if token != "" else {}
        socket = await connect(
            f"ws://127.0.0.1:{node.port}{path}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers=headers,
            **more,
        )
        self.stack.push_async_callback(socket.close)
        return Client(socket)

    async def make_key(
        self,
        *,
        tenant: str = TENANT,
        scopes: tuple[str, ...] = (identity.READ, identity.WRITE),
        revoked: bool = False,
        key_id: str | None = None,
    ) -> str:
        """A key in `identity.keys`; its text."""
        key_id = key_id or uuid.uuid4().hex[:12]
        text = identity.write_key(key_id, "secret-of-sixteen-characters")
        await self.appender.append(
            topics.KEYS,
            KeyChanged(
                id=f"{key_id}.{revoked}", at=at(), tenant=tenant, key_id=key_id, hash=identity.key_hash(text),
                tier="standard", scopes=scopes, revoked=revoked,
            ),
        )  # fmt: skip
        return text

    def ticket(self, principal: identity.Principal, *, lives_ms: int = 60_000) -> str:
        """A ticket as a gateway makes it."""
        ticket = identity.Ticket(id=uuid.uuid4().hex, principal=principal, expires_at_ms=now_ms() + lives_ms)
        return identity.write_ticket(ticket, TOKEN.encode())

    async def talk(
        self,
        *,
        in_lane: bool = False,
        tenant: str = TENANT,
        user: str = USER,
        is_announced: bool = True,
        is_stored: bool = True,
    ) -> Talk:
        """A new conversation, in its own topic or a lane."""
        conversation = fresh_conversation()
        log = topics.address(conversation, retired=in_lane, stored=is_stored, lanes=self.kafka.lanes)
        if topics.is_own_topic(log):
            await self.admin.create([topics.own_topic(conversation)])
        if is_announced:
            await self.announce(conversation, tenant=tenant, user=user, retired=in_lane)
        return Talk(self, conversation, log, is_stored)

    async def announce(
        self,
        conversation: ConversationId,
        *,
        tenant: str = TENANT,
        user: str = USER,
        retired: bool = False,
        deleted: bool = False,
    ) -> None:
        """Tell everybody of the conversation."""
        await self.appender.append(
            topics.CONVERSATIONS,
            ConversationChanged(
                id=f"{conversation}.{retired}.{deleted}", at=at(), tenant=tenant, conversation=conversation, user=user,
                created_at=at(), retired=retired, deleted=deleted,
            ),
        )  # fmt: skip


@asynccontextmanager
async def open_scene(
    kafka: str, cassandra: tuple[str, int], prefix: str, keyspace: str, *, lanes: int = 2
) -> AsyncIterator[Scene]:
    """Topics, tables, an appender, a gateway and a key."""
    async with AsyncExitStack() as stack:
        settings = KafkaSettings(bootstrap=kafka, topic_prefix=prefix, lanes=lanes, partitions=1)
        host, port = cassandra
        where = CassandraSettings(contact_points=(host,), port=port, keyspace=keyspace)
        store = Store(where)
        stack.push_async_callback(store.stop)
        admin = TopicAdmin(settings, "test")
        stack.push_async_callback(_cleaned, admin)
        names = (topics.KEYS, topics.CONVERSATIONS, topics.LANES, topics.UNSTORED_LANES)
        await asyncio.gather(admin.apply([topics.TOPICS[name] for name in names]), store.connected())
        appender = Appender(settings, "test")
        await appender.start()
        stack.push_async_callback(appender.stop)
        gateway = await _gateway(stack)
        scene = Scene(settings, where, appender, admin, TurnStore(store), gateway, stack)
        scene.key = await scene.make_key()
        yield scene


async def _gateway(stack: AsyncExitStack) -> Gateway:
    gateway = Gateway()
    app = web.Application()
    app.router.add_post("/internal/{what}", gateway.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return gateway


async def _cleaned(admin: TopicAdmin) -> None:
    await admin.delete(await admin.names())
    await admin.stop()


async def _ended(task: "asyncio.Task[None]") -> None:
    if task.done():
        task.result()
    task.cancel()


def stripped(record: Record) -> dict[str, Any]:
    """A record as an event frame shows it."""
    value: dict[str, Any] = codec.parse(codec.encode(record))
    value.pop("token_ids", None)
    return value
