"""Delivery from real Kafka to sockets: frames/s per core of the node's CPU, latency, and RAM of an idle connection.

    python -m tests.bench.bench_delivery [--readers 1000] [--rate 5000] [--seconds 8] [--idle 5000]

The node is a process of its own; its CPU is what the kernel counted for it (user and system). Records are appended by
this process in ticks of 5 ms; the readers are bare sockets that count frames and look into every fiftieth.

- speaking: one reader a conversation, each conversation in a lane, `rate` deltas a second over all of them;
- own topics: the same with 200 conversations in topics of their own;
- broadcast: one conversation, all readers, 10 records a second.
"""

import argparse
import asyncio
import base64
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop

from schemas import instants
from schemas.ids import TurnId
from schemas.records import Record
from tests.bench.report import cpu_s, environment, resident_mb, spread
from tests.delivery.process import NodeProcess, node_process
from tests.delivery.scene import Scene, Talk, fresh_turn, now_ms, open_scene
from tests.delivery.tables import migrated
from tests.support.brokers import LoopThread

TICK_S = 0.005
SAMPLE = 50
OWN_TOPICS = 200
WARM_UP_S = 1.5


class Reader(asyncio.Protocol):
    """A bare WebSocket client: upgrades, subscribes, counts frames."""

    def __init__(self, key: str, subscribe: bytes, latencies_ms: list[float]) -> None:
        self._request = (
            "GET /v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {key}\r\n\r\n"
        ).encode()
        self._subscribe = subscribe
        self._latencies_ms = latencies_ms
        self._buffer = b""
        self._is_open = False
        self.frames = 0
        self._sampled = random.randrange(SAMPLE)  # readers look into different frames
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

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
            assert self.transport is not None
            self.transport.write(masked(self._subscribe))
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
            self._took(buffer, begin, begin + length)
            at = begin + length
        self._buffer = buffer[at:]

    def _took(self, buffer: bytes, begin: int, end: int) -> None:
        if not self.ready.done():
            answer = json.loads(buffer[begin:end])
            assert answer["type"] == "subscribed", answer
            self.ready.set_result(None)
            return
        self.frames += 1
        if self.frames % SAMPLE == self._sampled:
            event = json.loads(buffer[begin:end])["event"]
            self._latencies_ms.append(now_ms() - instants.to_ms(event["at"]))


def masked(payload: bytes) -> bytes:
    """A client's text frame; the mask of zeros changes nothing."""
    size = len(payload)
    assert size < 2**16
    head = bytes((0x81, 0x80 | size)) if size < 126 else bytes((0x81, 0xFE)) + size.to_bytes(2, "big")
    return head + b"\0\0\0\0" + payload


@dataclass
class Crowd:
    """Readers of one node."""

    node: NodeProcess
    readers: list[Reader] = field(default_factory=list)

    async def connect(self, key: str, conversations: Sequence[str], latencies_ms: list[float]) -> list[Reader]:
        """A reader for each of these conversations, all subscribed."""
        loop = asyncio.get_running_loop()
        made: list[Reader] = []
        for start in range(0, len(conversations), 100):
            some = [
                Reader(key, json.dumps({"type": "subscribe", "ref": 1, "conversation": each}).encode(), latencies_ms)
                for each in conversations[start : start + 100]
            ]
            for each in some:
                await loop.create_connection(lambda reader=each: reader, "127.0.0.1", self.node.port)  # type: ignore[misc]
            async with asyncio.timeout(30):
                await asyncio.gather(*(each.ready for each in some))
            made += some
        self.readers += made
        return made


MANY: dict[str, Any] = {"DELIVERY_MAX_CONNECTIONS": 50_000, "DELIVERY_MAX_TENANT_CONNECTIONS": 50_000}


class Voices:
    """Conversations that speak: one open turn each."""

    def __init__(self, talks: Sequence[Talk]) -> None:
        self.talks = talks
        self.turns: list[TurnId] = [fresh_turn(talk.conversation) for talk in talks]
        self.seqs = [0] * len(talks)
        self._next = 0
        self.sent = 0

    async def begin(self) -> None:
        """Accept and start every turn."""
        for talk, turn in zip(self.talks, self.turns, strict=True):
            await talk.append_all([talk.accepted(turn), talk.started(turn)])

    async def speak(self, rate: float, seconds: float) -> None:
        """So many deltas a second, round the conversations, in ticks."""
        begun = time.perf_counter()
        acks: list[asyncio.Future[object]] = []
        while (passed := time.perf_counter() - begun) < seconds:
            due = int(passed * rate)
            while self._due < due:
                acks.append(await self._one())
            acks = acks[-2000:]
            await asyncio.sleep(TICK_S)
        await asyncio.gather(*acks)

    @property
    def _due(self) -> int:
        return self.sent - self._base

    _base = 0

    async def _one(self) -> "asyncio.Future[object]":
        number = self._next
        self._next = (number + 1) % len(self.talks)
        talk, turn = self.talks[number], self.turns[number]
        record: Record = talk.delta(turn, self.seqs[number], " token")
        self.seqs[number] += 1
        self.sent += 1
        return await talk.scene.appender.send(  # type: ignore[return-value]
            talk.log.topic, record, partition=talk.log.partition, key=talk.conversation
        )

    def again(self) -> None:
        """Count the rate from here."""
        self._base = self.sent


async def measure(
    name: str,
    node: NodeProcess,
    voices: Voices,
    readers: Sequence[Reader],
    rate: float,
    seconds: float,
    latencies_ms: list[float],
) -> None:
    """Warm up, then count what the node delivers and what CPU it takes."""
    voices.again()
    await voices.speak(rate, WARM_UP_S)
    latencies_ms.clear()
    frames, cpu, begun, sent = sum(each.frames for each in readers), cpu_s(node.pid), time.perf_counter(), voices.sent
    voices.again()
    await voices.speak(rate, seconds)
    took = time.perf_counter() - begun
    delivered = sum(each.frames for each in readers) - frames
    used = cpu_s(node.pid) - cpu
    print(
        f"{name}\n  {(voices.sent - sent) / took:.0f} records/s, {delivered / took:.0f} frames/s, node at"
        f" {100 * used / took:.0f} % of a core: {delivered / max(used, 0.01) / 1000:.1f} k frames/s per core\n"
        f"  append -> socket  {spread(latencies_ms, 'ms')}"
    )


async def made(scene: Scene, count: int, *, in_lane: bool) -> list[Talk]:
    """So many conversations."""
    talks: list[Talk] = []
    for start in range(0, count, 50):
        talks += await asyncio.gather(*(scene.talk(in_lane=in_lane) for _ in range(min(50, count - start))))
    return talks


async def main(arguments: argparse.Namespace, kafka: str, cassandra: tuple[str, int], keyspace: str) -> None:
    """All scenarios, one after the other, each with a fresh node."""
    print(environment())
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(open_scene(kafka, cassandra, f"b{os.getpid()}.", keyspace))
        await idle(scene, arguments.idle)
        for name, count, in_lane in (
            ("speaking, lanes", arguments.readers, True),
            ("speaking, own topics", OWN_TOPICS, False),
        ):
            talks = await made(scene, count, in_lane=in_lane)
            voices = Voices(talks)
            await voices.begin()
            async with node_process(scene, **MANY) as node:
                latencies_ms: list[float] = []
                readers = await Crowd(node).connect(scene.key, [talk.conversation for talk in talks], latencies_ms)
                for rate in sorted({500, arguments.rate}):
                    await measure(
                        f"{name}: {count} conversations, a reader each", node, voices, readers, rate,
                        arguments.seconds, latencies_ms,
                    )  # fmt: skip
        [talk] = await made(scene, 1, in_lane=False)
        voices = Voices([talk])
        await voices.begin()
        async with node_process(scene, **MANY) as node:
            latencies_ms = []
            readers = await Crowd(node).connect(scene.key, [talk.conversation] * arguments.readers, latencies_ms)
            await measure(
                f"broadcast: one conversation, {arguments.readers} readers", node, voices, readers, 10,
                arguments.seconds, latencies_ms,
            )  # fmt: skip


async def idle(scene: Scene, count: int) -> None:
    """Resident memory of connections that wait, each subscribed to a conversation of its own in a lane."""
    if not count:
        return
    talks = await made(scene, count, in_lane=True)
    async with node_process(scene, **MANY) as node:
        before = resident_mb(node.pid)
        await Crowd(node).connect(scene.key, [talk.conversation for talk in talks], [])
        after = resident_mb(node.pid)
        cpu, begun = cpu_s(node.pid), time.perf_counter()
        await asyncio.sleep(5)
        used = (cpu_s(node.pid) - cpu) / (time.perf_counter() - begun)
    print(
        f"idle: {count} connections, one conversation each\n  {(after - before) * 1024 / count:.1f} KB a connection"
        f" ({before:.0f} -> {after:.0f} MB), {100 * used:.1f} % of a core"
    )


def run() -> None:
    """On the brokers of the environment, or on fresh ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--idle", type=int, default=5000)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    thread = LoopThread()
    from infra.local.node import local_cassandra, local_kafka  # noqa: PLC0415 - only where none are given

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
                uvloop.run(main(arguments, kafka, (host, int(port)), keyspace))
        finally:
            for node in nodes:
                thread.run(node.stop(limit_s=0))
            thread.close()


if __name__ == "__main__":
    run()
