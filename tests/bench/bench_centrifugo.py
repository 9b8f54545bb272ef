"""Delivery beside Centrifugo: frames/s per core, latency, and RAM of a connection, in interleaved runs.

    python -m tests.bench.bench_centrifugo --centrifugo PATH [--rounds 3] [--seconds 6] [--idle 10000]

Both read the same records from the same lane of the same Kafka, and both deliver them to the same bare readers: ours
with its full protocol (the rule, positions, bounded buffers, pings, auth), Centrifugo as cheap as it gets (no history,
no recovery, no auth; the record's bytes are the publication). One core (0) for the server, the other for Kafka, the
appends and the readers; CPU is what the kernel counted for the server.

- from Kafka: a reader a conversation, `rate` deltas a second over all of them;
- sockets: one conversation, 2 000 readers, 10 records a second: next to nothing is read from Kafka;
- idle: connections that each read a conversation of their own.

The program is built by `go install github.com/centrifugal/centrifugo/v6@v6.9.1`; without `--centrifugo` it is looked
for in PATH. Source of its settings: `centrifugo configdoc`.
"""

import argparse
import asyncio
import base64
import itertools
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import aiohttp
import uvloop

from schemas import codec, instants, topics
from schemas.ids import TurnId
from tests.bench.report import cpu_s, environment, percentile, range_of, resident_mb, spread
from tests.delivery.process import node_process
from tests.delivery.scene import Scene, Talk, fresh_turn, now_ms, open_scene
from tests.delivery.tables import migrated
from tests.support.brokers import LoopThread
from tests.support.pipeline import free_ports

PING, PONG = 9, 10  # opcodes, RFC 6455
TICK_S = 0.005
SAMPLE = 50
WARM_UP_S = 1.5
READERS = 1000
RATES = (1000, 5000)
AUDIENCE = 2000
CHANNELS_HEADER = "centrifugo-channels"
MANY: dict[str, Any] = {"DELIVERY_MAX_CONNECTIONS": 50_000, "DELIVERY_MAX_TENANT_CONNECTIONS": 50_000}
BENCH_CORE, SERVER_CORE = 1, 0


class Language(Protocol):
    """How a reader asks one server for one conversation, and what it makes of the answers."""

    path: str
    headers: str

    def ask(self, conversation: str) -> bytes:
        """What is sent once the socket is open."""

    def is_ready(self, payload: bytes) -> bool:
        """Whether this answer means that records come from now on."""

    def messages(self, payload: bytes) -> int:
        """How many records a frame brings."""

    def said_at_ms(self, payload: bytes) -> int:
        """When the last record of the frame was written."""

    def reply(self, payload: bytes) -> bytes | None:
        """What a frame that brings no record must be answered with."""


class Ours:
    """`/v1/stream`."""

    path = "/v1/stream"

    def __init__(self, key: str) -> None:
        self.headers = f"Authorization: Bearer {key}\r\n"

    def ask(self, conversation: str) -> bytes:
        return json.dumps({"type": "subscribe", "ref": 1, "conversation": conversation}).encode()

    def is_ready(self, payload: bytes) -> bool:
        answer = json.loads(payload)
        assert answer["type"] in ("subscribed", "alive"), answer
        return bool(answer["type"] == "subscribed")

    def messages(self, payload: bytes) -> int:
        return 0 if b'"type":"alive"' in payload[:40] else 1

    def said_at_ms(self, payload: bytes) -> int:
        return instants.to_ms(json.loads(payload)["event"]["at"])

    def reply(self, payload: bytes) -> bytes | None:
        return None


class Theirs:
    """Centrifugo's JSON protocol: several replies in a frame stand in lines; `{}` is a ping and its pong."""

    path = "/connection/websocket"
    headers = ""

    def ask(self, conversation: str) -> bytes:
        return b'{"id":1,"connect":{}}\n' + json.dumps({"id": 2, "subscribe": {"channel": conversation}}).encode()

    def is_ready(self, payload: bytes) -> bool:
        for line in payload.split(b"\n"):
            answer = json.loads(line)
            assert "error" not in answer, answer
            if answer.get("id") == 2:
                return True
        return False

    def messages(self, payload: bytes) -> int:
        return 0 if payload == b"{}" else payload.count(b"\n") + 1

    def said_at_ms(self, payload: bytes) -> int:
        return instants.to_ms(json.loads(payload.rpartition(b"\n")[2])["push"]["pub"]["data"]["at"])

    def reply(self, payload: bytes) -> bytes | None:
        return b"{}" if payload == b"{}" else None


class Reader(asyncio.Protocol):
    """A bare WebSocket client: upgrades, asks, counts, and looks into every fiftieth frame."""

    def __init__(self, language: Language, conversation: str, latencies_ms: list[float]) -> None:
        self._language = language
        self._conversation = conversation
        self._latencies_ms = latencies_ms
        self._buffer = b""
        self._is_open = False
        self._sampled = random.randrange(SAMPLE)  # readers look into different frames
        self.frames = 0
        self.records = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            (
                f"GET {self._language.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                f"{self._language.headers}\r\n"
            ).encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the server went away"))

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
            self._send(self._language.ask(self._conversation))
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
            if (opcode := buffer[at] & 0x0F) == 1:
                self._took(buffer[begin : begin + length])
            elif opcode == PING:
                self._send(buffer[begin : begin + length], opcode=PONG)
            at = begin + length
        self._buffer = buffer[at:]

    def _took(self, payload: bytes) -> None:
        if not self.ready.done():
            if self._language.is_ready(payload):
                self.ready.set_result(None)
            return
        reply = self._language.reply(payload)
        if reply is not None:
            self._send(reply)
            return
        records = self._language.messages(payload)
        if not records:
            return
        self.records += records
        self.frames += 1
        if self.frames % SAMPLE == self._sampled:
            self._latencies_ms.append(now_ms() - self._language.said_at_ms(payload))

    def _send(self, payload: bytes, *, opcode: int = 1) -> None:
        size, first = len(payload), 0x80 | opcode
        assert size < 2**16
        assert self.transport is not None
        head = bytes((first, 0x80 | size)) if size < 126 else bytes((first, 0xFE)) + size.to_bytes(2, "big")
        self.transport.write(head + b"\0\0\0\0" + payload)  # a mask of zeros changes nothing


@dataclass(frozen=True)
class Server:
    """One of the two, running."""

    name: str
    pid: int
    port: int
    language: Language


def pin(pid: int, core: int) -> None:
    """All threads of a process run on this core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


@asynccontextmanager
async def parley(scene: Scene) -> AsyncIterator[Server]:
    """A delivery node on its core."""
    async with node_process(scene, **MANY) as node:
        pin(node.pid, SERVER_CORE)
        yield Server("parley", node.pid, node.port, Ours(scene.key))


@asynccontextmanager
async def centrifugo(scene: Scene, program: str, lane: str) -> AsyncIterator[Server]:
    """Centrifugo on its core, reading the same lanes."""
    [port] = free_ports(1)
    settings = {
        "http_server": {"address": "127.0.0.1", "port": port},
        "client": {"insecure": True, "allowed_origins": ["*"]},
        "health": {"enabled": True},
        "log": {"level": "error"},
        "consumers": [
            {
                "enabled": True,
                "name": "lanes",
                "type": "kafka",
                "kafka": {
                    "brokers": [scene.kafka.bootstrap],
                    "topics": [scene.kafka.named(lane)],
                    "consumer_group": f"centrifugo-{os.urandom(4).hex()}",
                    "publication_data_mode": {"enabled": True, "channels_header": CHANNELS_HEADER},
                },
            }
        ],
    }
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "config.json"
        path.write_text(json.dumps(settings))
        process = await asyncio.create_subprocess_exec(
            "taskset", "-c", str(SERVER_CORE), program, "-c", str(path),
            env={**os.environ, "GOMAXPROCS": "1"}, stdout=sys.stderr, stderr=sys.stderr,
        )  # fmt: skip
        try:
            async with asyncio.timeout(30), aiohttp.ClientSession() as session:
                while not await _answers(session, f"http://127.0.0.1:{port}/health"):
                    assert process.returncode is None, "centrifugo has ended"
                    await asyncio.sleep(0.1)
            yield Server("centrifugo", process.pid, port, Theirs())
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


async def connected(server: Server, conversations: Sequence[str], latencies_ms: list[float]) -> list[Reader]:
    """A reader for each of these conversations, all of them told that records come."""
    loop, made = asyncio.get_running_loop(), list[Reader]()
    for start in range(0, len(conversations), 100):
        some = [Reader(server.language, each, latencies_ms) for each in conversations[start : start + 100]]
        for each in some:
            await loop.create_connection(lambda reader=each: reader, "127.0.0.1", server.port)  # type: ignore[misc]
        async with asyncio.timeout(60):
            await asyncio.gather(*(each.ready for each in some))
        made += some
    return made


class Voices:
    """Conversations that speak, one open turn each; each record names its channel for Centrifugo."""

    def __init__(self, talks: Sequence[Talk]) -> None:
        self._talks = talks
        self._turns: list[TurnId] = [fresh_turn(talk.conversation) for talk in talks]
        self._seqs = [0] * len(talks)
        self._order = itertools.cycle(range(len(talks)))
        self.sent = 0

    async def begin(self) -> None:
        """Accept and start every turn."""
        for talk, turn in zip(self._talks, self._turns, strict=True):
            for record in (talk.accepted(turn), talk.started(turn)):
                await self._append(talk, codec.encode(record))

    async def speak(self, rate: float, seconds: float) -> None:
        """So many deltas a second, round the conversations, in ticks."""
        begun, base, acks = time.perf_counter(), self.sent, list[Any]()
        while (passed := time.perf_counter() - begun) < seconds:
            while self.sent - base < int(passed * rate):
                number = next(self._order)
                talk = self._talks[number]
                record = talk.delta(self._turns[number], self._seqs[number], " token")
                self._seqs[number] += 1
                self.sent += 1
                acks.append(await self._append(talk, codec.encode(record)))
            del acks[:-5000]
            await asyncio.sleep(TICK_S)
        await asyncio.gather(*acks)

    async def _append(self, talk: Talk, value: bytes) -> "asyncio.Future[Any]":
        key = talk.conversation.encode()
        headers = ((CHANNELS_HEADER, key),)
        return await talk.scene.appender.send_bytes(
            talk.log.topic, value, key=key, partition=talk.log.partition, headers=headers
        )


@dataclass
class Results:
    """Of one server in one scenario, over the rounds."""

    per_core: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    core_shares: list[float] = field(default_factory=list)
    lost: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    def told(self) -> str:
        """In a line."""
        return (
            f"{range_of(self.per_core, 'k frames/s per core')}; {percentile(self.rates, 0.5):.0f} records/s at"
            f" {percentile(self.core_shares, 0.5):.0f} % of a core, {self.lost} lost;"
            f" append -> socket {spread(self.latencies_ms, 'ms')}"
        )


async def measure(
    server: Server, talks: Sequence[Talk], readers: int, rate: float, seconds: float, results: Results
) -> None:
    """One run: warm up, then count what the server delivers and what CPU it takes."""
    voices, latencies_ms = Voices(talks), list[float]()
    conversations = [talk.conversation for talk in talks]
    crowd = await connected(server, [*itertools.islice(itertools.cycle(conversations), readers)], latencies_ms)
    try:
        await voices.begin()
        await voices.speak(rate, WARM_UP_S)
        await _settled(crowd)
        latencies_ms.clear()
        records, sent = sum(each.records for each in crowd), voices.sent
        cpu, begun = cpu_s(server.pid), time.perf_counter()
        await voices.speak(rate, seconds)
        took = time.perf_counter() - begun
        await _settled(crowd)
        used = cpu_s(server.pid) - cpu
        delivered = sum(each.records for each in crowd) - records
        results.lost += (voices.sent - sent) * readers // len(talks) - delivered
        results.per_core.append(delivered / max(used, 0.01) / 1000)
        results.rates.append((voices.sent - sent) / took)
        results.core_shares.append(100 * used / took)
        results.latencies_ms += latencies_ms
    finally:
        for each in crowd:
            if each.transport is not None:
                each.transport.abort()


async def _settled(crowd: Sequence[Reader]) -> None:
    """Returns when nothing has come for half a second."""
    before = -1
    while (now := sum(each.records for each in crowd)) != before:
        before = now
        await asyncio.sleep(0.5)


async def idle(server: Server, conversations: Sequence[str]) -> str:
    """Resident memory of connections that wait."""
    before = resident_mb(server.pid)
    crowd = await connected(server, conversations, [])
    await asyncio.sleep(2)
    after = resident_mb(server.pid)
    for each in crowd:
        if each.transport is not None:
            each.transport.abort()
    return f"{(after - before) * 1024 / len(conversations):.1f} KB a connection ({before:.0f} -> {after:.0f} MB)"


async def main(
    arguments: argparse.Namespace, program: str, kafka: str, cassandra: tuple[str, int], keyspace: str
) -> None:
    """All scenarios; in each round both servers, each fresh."""
    print(environment())
    async with AsyncExitStack() as stack:
        scene = await stack.enter_async_context(open_scene(kafka, cassandra, f"b{os.getpid()}.", keyspace))
        scenarios = [(f"from Kafka, {rate} records/s to {READERS} readers", READERS, READERS, rate) for rate in RATES]
        scenarios.append((f"sockets, 10 records/s to {AUDIENCE} readers of one conversation", 1, AUDIENCE, 10))
        for name, count, readers, rate in scenarios:
            found: dict[str, Results] = {}
            for _ in range(arguments.rounds):
                for start in both(scene, program):
                    # Fresh ones, so that neither has anything to read back when its readers come.
                    talks = await made(scene, count)
                    async with start() as server:
                        results = found.setdefault(server.name, Results())
                        await measure(server, talks, readers, rate, arguments.seconds, results)
            print(name)
            for server_name, results in found.items():
                print(f"  {server_name:10} {results.told()}")
            ours, theirs = (percentile(each.per_core, 0.5) for each in found.values())
            print(f"  ratio      {ours / theirs:.2f} (medians)", flush=True)
        if arguments.idle:
            print(f"idle, {arguments.idle} connections, {READERS} conversations")
            for start in both(scene, program):
                talks = await made(scene, READERS)
                conversations = [talks[number % READERS].conversation for number in range(arguments.idle)]
                async with start() as server:
                    print(f"  {server.name:10} {await idle(server, conversations)}", flush=True)


def both(scene: Scene, program: str) -> tuple[Callable[[], Any], ...]:
    """How each of the two is started."""
    return (lambda: parley(scene), lambda: centrifugo(scene, program, topics.LANES))


async def made(scene: Scene, count: int) -> list[Talk]:
    """So many conversations in lanes."""
    talks: list[Talk] = []
    while len(talks) < count:
        talks += await asyncio.gather(*(scene.talk(in_lane=True) for _ in range(min(50, count - len(talks)))))
    return talks


def run() -> None:
    """On the brokers of the environment, or on fresh ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--centrifugo", default=shutil.which("centrifugo"), help="the program (in PATH)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--idle", type=int, default=10_000)
    arguments = parser.parse_args()
    if arguments.centrifugo is None:
        print("no centrifugo here: build it as the head of this file says, and name it by --centrifugo")
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.sched_setaffinity(0, {BENCH_CORE})  # the brokers inherit it
    thread = LoopThread()
    from infra.local.node import local_cassandra, local_kafka  # noqa: PLC0415 - only where none are given

    with tempfile.TemporaryDirectory() as place:
        nodes, addresses = [], []
        for variable, make in (("PARLEY_TEST_KAFKA", local_kafka), ("PARLEY_TEST_CASSANDRA", local_cassandra)):
            address = os.environ.get(variable)
            if address is None:
                nodes.append(make(Path(place) / variable))
                address = thread.run(nodes[-1].start())
            addresses.append(address)
        kafka, (host, _, port) = addresses[0], addresses[1].rpartition(":")
        try:
            with migrated((host, int(port)), thread) as keyspace:
                uvloop.run(main(arguments, arguments.centrifugo, kafka, (host, int(port)), keyspace))
        finally:
            for node in nodes:
                thread.run(node.stop(limit_s=0))
            thread.close()


if __name__ == "__main__":
    run()
