"""Bare sockets that read, conversations that speak, and the brokers of a bench: what benches of delivery share."""

import asyncio
import base64
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import uvloop

from infra.local.node import local_cassandra, local_kafka
from schemas import instants
from schemas.ids import TurnId
from schemas.records import Record
from tests.delivery.scene import Scene, Talk, fresh_turn, now_ms
from tests.delivery.tables import migrated
from tests.support.brokers import LoopThread

TICK_S = 0.005
TEXT, PING, PONG = 0x1, 0x9, 0xA  # RFC 6455 section 5.2
EVENT = b'{"type":"event"'
SAMPLE = 50


class Reader(asyncio.Protocol):
    """A bare WebSocket client: upgrades, subscribes, counts frames."""

    def __init__(
        self, key: str, subscribe: bytes, latencies_ms: list[float], *, path: str = "/v1/stream", every: int = SAMPLE
    ) -> None:
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {key}\r\n\r\n"
        ).encode()
        self._subscribe = subscribe
        self._latencies_ms = latencies_ms
        self._buffer = b""
        self._is_open = False
        self.frames = 0
        self._every = every
        self.sampled = random.randrange(every)  # readers look into different frames
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_lost(self, _exc: Exception | None) -> None:
        self.gone.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        if not self._is_open:
            head, found, rest = buffer.partition(b"\r\n\r\n")
            if not found:
                self._buffer = buffer
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._is_open = True
            buffer = rest
            self.say(self._subscribe)
        at, size = 0, len(buffer)
        while size - at >= 2:
            length, begin = buffer[at + 1], at + 2
            if length == 126:
                if size - at < 4:
                    break
                length, begin = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                if size - at < 10:
                    break
                length, begin = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            if size < begin + length:
                break
            if (opcode := buffer[at] & 0x0F) == TEXT:
                self.took(buffer[begin : begin + length])
            elif opcode == PING:
                self.say(buffer[begin : begin + length], opcode=PONG)
            at = begin + length
        self._buffer = buffer[at:]

    def say(self, payload: bytes, *, opcode: int = TEXT) -> None:
        """Send a frame."""
        assert self.transport is not None
        self.transport.write(masked(payload, opcode))

    def took(self, frame: bytes) -> None:
        """The answer to the subscribe, then events."""
        if not self.ready.done():
            answer = json.loads(frame)
            assert answer["type"] in ("subscribed", "alive"), answer
            if answer["type"] == "subscribed":
                self.ready.set_result(None)
            return
        if not frame.startswith(EVENT):
            return
        self.frames += 1
        if self.frames % self._every == self.sampled:
            self.sample(json.loads(frame)["event"]["at"])

    def sample(self, said_at: str) -> None:
        """What was said then has come now."""
        self._latencies_ms.append(now_ms() - instants.to_ms(said_at))


def masked(payload: bytes, opcode: int = TEXT) -> bytes:
    """A client's frame; the mask of zeros changes nothing."""
    size, first = len(payload), 0x80 | opcode
    assert size < 2**16
    head = bytes((first, 0x80 | size)) if size < 126 else bytes((first, 0xFE)) + size.to_bytes(2, "big")
    return head + b"\0\0\0\0" + payload


@dataclass
class Crowd:
    """Readers of one node."""

    node: "Listening"
    readers: list[Reader] = field(default_factory=list)

    async def connect(
        self, key: str, conversations: Sequence[str], latencies_ms: list[float], every: int = SAMPLE
    ) -> list[Reader]:
        """A reader for each of these conversations, all subscribed."""

        def made(conversation: str) -> Reader:
            subscribe = json.dumps({"type": "subscribe", "ref": 1, "conversation": conversation}).encode()
            return Reader(key, subscribe, latencies_ms, every=every)

        return await self.connect_all([made(each) for each in conversations])

    async def connect_all(self, readers: Sequence[Reader]) -> list[Reader]:
        """All of them are told that records come."""
        loop = asyncio.get_running_loop()
        for start in range(0, len(readers), 100):
            some = readers[start : start + 100]
            for each in some:
                await loop.create_connection(lambda reader=each: reader, "127.0.0.1", self.node.port)  # type: ignore[misc]
            async with asyncio.timeout(60):
                await asyncio.gather(*(each.ready for each in some))
        self.readers += readers
        return list(readers)


class Listening(Protocol):
    """A server on this machine."""

    @property
    def port(self) -> int:
        """Where it listens."""


MANY: dict[str, Any] = {"DELIVERY_MAX_CONNECTIONS": 50_000, "DELIVERY_MAX_TENANT_CONNECTIONS": 50_000}


class Voices:
    """Conversations that speak: one open turn each, always the same text."""

    def __init__(self, talks: Sequence[Talk], text: str = " token") -> None:
        self.talks = talks
        self._text = text
        self.turns: list[TurnId] = [fresh_turn(talk.conversation) for talk in talks]
        self.seqs = [0] * len(talks)
        self._next = 0
        self.sent = 0

    async def begin(self) -> None:
        """Accept and start every turn."""
        begun = [
            (talk, record)
            for talk, turn in zip(self.talks, self.turns, strict=True)
            for record in (talk.accepted(turn), talk.started(turn))
        ]
        await asyncio.gather(*[await self.append(talk, record) for talk, record in begun])

    async def speak(self, rate: float, seconds: float) -> None:
        """So many deltas a second, round the conversations, in ticks."""
        begun = time.perf_counter()
        acks: list[asyncio.Future[object]] = []
        while (passed := time.perf_counter() - begun) < seconds:
            due = int(passed * rate)
            while self._said < due:
                acks.append(await self._one())
            await asyncio.sleep(TICK_S)
        await asyncio.gather(*acks)

    async def once_each(self) -> None:
        """One delta of every conversation, acknowledged."""
        await asyncio.gather(*[await self._one() for _ in self.talks])

    @property
    def _said(self) -> int:
        return self.sent - self._base

    _base = 0

    async def _one(self) -> "asyncio.Future[object]":
        number = self._next
        self._next = (number + 1) % len(self.talks)
        talk, turn = self.talks[number], self.turns[number]
        record: Record = talk.delta(turn, self.seqs[number], self._text)
        self.seqs[number] += 1
        self.sent += 1
        return await self.append(talk, record)

    async def append(self, talk: Talk, record: Record) -> "asyncio.Future[object]":
        """Enqueue a record of the conversation."""
        return await talk.scene.appender.send(  # type: ignore[return-value]
            talk.log.topic, record, partition=talk.log.partition, key=talk.conversation
        )

    def again(self) -> None:
        """Count the rate from here."""
        self._base = self.sent


async def made(scene: Scene, count: int, *, in_lane: bool) -> list[Talk]:
    """So many conversations."""
    talks: list[Talk] = []
    for start in range(0, count, 50):
        talks += await asyncio.gather(*(scene.talk(in_lane=in_lane) for _ in range(min(50, count - start))))
    return talks


def on_brokers(main: Callable[[str, tuple[str, int], str], Coroutine[Any, Any, None]]) -> None:
    """Run `main` with Kafka's address, Cassandra's and a keyspace: those of the environment, or fresh ones."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    thread = LoopThread()
    with tempfile.TemporaryDirectory() as place:
        nodes = []
        addresses = []
        for variable, make in (("PARLEY_TEST_KAFKA", local_kafka), ("PARLEY_TEST_CASSANDRA", local_cassandra)):
            address = os.environ.get(variable)
            if address is None:
                nodes.append(make(Path(place) / variable))
                address = thread.run(nodes[-1].start())
            addresses.append(address)
        kafka, (host, _, port) = addresses[0], addresses[1].rpartition(":")
        try:
            with migrated((host, int(port)), thread) as keyspace:
                uvloop.run(main(kafka, (host, int(port)), keyspace))
        finally:
            for node in nodes:
                thread.run(node.stop(limit_s=0))
            thread.close()
