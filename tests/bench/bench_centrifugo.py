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
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from schemas import codec, topics
from schemas.records import Record
from tests.bench.report import cpu_s, environment, percentile, range_of, resident_mb, spread
from tests.bench.sockets import MANY, SAMPLE, Crowd, Reader, Voices, made, on_brokers
from tests.delivery.process import node_process
from tests.delivery.scene import Scene, Talk, open_scene
from tests.support.pipeline import free_ports

WARM_UP_S = 1.5
REST_S = 0.05  # of CPU in half a second
READERS = 1000
RATES = (1000, 5000)
AUDIENCE = 2000
CHANNELS = "centrifugo-channels"
BENCH_CORE, SERVER_CORE = 1, 0


class TheirReader(Reader):
    """Of Centrifugo's JSON protocol: replies of one frame stand in lines; `{}` is a ping, and its pong."""

    def __init__(self, conversation: str, latencies_ms: list[float]) -> None:
        subscribe = json.dumps({"id": 2, "subscribe": {"channel": conversation}}).encode()
        super().__init__("", b'{"id":1,"connect":{}}\n' + subscribe, latencies_ms, path="/connection/websocket")

    def took(self, frame: bytes) -> None:
        """The answers to connect and subscribe, then publications."""
        if frame == b"{}":
            self.say(b"{}")
            return
        lines = frame.split(b"\n")
        if not self.ready.done():
            answers = [json.loads(line) for line in lines]
            assert not any("error" in answer for answer in answers), answers
            if any(answer.get("id") == 2 for answer in answers):
                self.ready.set_result(None)
            return
        before = (self.frames + self.sampled) // SAMPLE
        self.frames += len(lines)
        if (self.frames + self.sampled) // SAMPLE != before:
            self.sample(json.loads(lines[-1])["push"]["pub"]["data"]["at"])


class NamedVoices(Voices):
    """Each record names its channel for Centrifugo."""

    async def append(self, talk: Talk, record: Record) -> "asyncio.Future[object]":
        """Enqueue a record of the conversation."""
        key = talk.conversation.encode()
        return await talk.scene.appender.send_bytes(  # type: ignore[return-value]
            talk.log.topic, codec.encode(record), key=key, partition=talk.log.partition, headers=((CHANNELS, key),)
        )


@dataclass(frozen=True)
class Server:
    """One of the two, running."""

    name: str
    pid: int
    port: int
    reader: Callable[[str, list[float]], Reader]


def ours(key: str, conversation: str, latencies_ms: list[float]) -> Reader:
    """A reader of our stream."""
    subscribe = json.dumps({"type": "subscribe", "ref": 1, "conversation": conversation}).encode()
    return Reader(key, subscribe, latencies_ms)


def pin(pid: int, core: int) -> None:
    """All threads of a process run on this core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


@asynccontextmanager
async def parley(scene: Scene) -> AsyncIterator[Server]:
    """A delivery node on its core."""
    async with node_process(scene, **MANY) as node:
        pin(node.pid, SERVER_CORE)
        yield Server("parley", node.pid, node.port, partial(ours, scene.key))


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
                    "publication_data_mode": {"enabled": True, "channels_header": CHANNELS},
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
            yield Server("centrifugo", process.pid, port, TheirReader)
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


@dataclass
class Results:
    """Of one server in one scenario, over the rounds."""

    per_core: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    core_shares: list[float] = field(default_factory=list)
    connection_kb: list[float] = field(default_factory=list)
    lost: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    def told(self) -> str:
        """In a line."""
        return (
            f"{range_of(self.per_core, 'k frames/s per core')}; {percentile(self.rates, 0.5):.0f} records/s at"
            f" {percentile(self.core_shares, 0.5):.0f} % of a core, {self.lost} lost;"
            f" append -> socket {spread(self.latencies_ms, 'ms')}; with what they read"
            f" {percentile(self.connection_kb, 0.5):.1f} KB a connection"
        )


async def measure(
    server: Server, talks: Sequence[Talk], readers: int, rate: float, seconds: float, results: Results
) -> None:
    """One run: warm up, then count what the server delivers and what CPU it takes."""
    await _at_rest(server.pid)
    voices, latencies_ms, before_mb = NamedVoices(talks), list[float](), resident_mb(server.pid)
    named = itertools.islice(itertools.cycle([talk.conversation for talk in talks]), readers)
    crowd = await Crowd(server).connect_all([server.reader(each, latencies_ms) for each in named])
    try:
        await voices.begin()
        await voices.speak(rate, WARM_UP_S)
        await _settled(crowd)
        latencies_ms.clear()
        frames, sent = sum(each.frames for each in crowd), voices.sent
        cpu, begun = cpu_s(server.pid), time.perf_counter()
        voices.again()
        await voices.speak(rate, seconds)
        took = time.perf_counter() - begun
        await _settled(crowd)
        used = cpu_s(server.pid) - cpu
        delivered = sum(each.frames for each in crowd) - frames
        results.lost += (voices.sent - sent) * readers // len(talks) - delivered
        results.per_core.append(delivered / max(used, 0.01) / 1000)
        results.rates.append((voices.sent - sent) / took)
        results.core_shares.append(100 * used / took)
        results.latencies_ms += latencies_ms
        results.connection_kb.append((resident_mb(server.pid) - before_mb) * 1024 / readers)
    finally:
        _leave(crowd)


def _leave(crowd: Sequence[Reader]) -> None:
    for each in crowd:
        if each.transport is not None:
            each.transport.abort()


async def _settled(crowd: Sequence[Reader]) -> None:
    """Returns when nothing has come for half a second."""
    before = -1
    while (now := sum(each.frames for each in crowd)) != before:
        before = now
        await asyncio.sleep(0.5)


async def _at_rest(pid: int) -> None:
    """Returns when the server has done what a start brings: ours reads its lanes back."""
    before, now = 0.0, cpu_s(pid)
    while now - before > REST_S:
        await asyncio.sleep(0.5)
        before, now = now, cpu_s(pid)


async def idle(server: Server, conversations: Sequence[str]) -> str:
    """Resident memory of connections that wait."""
    await _at_rest(server.pid)
    before = resident_mb(server.pid)
    crowd = await Crowd(server).connect_all([server.reader(each, []) for each in conversations])
    await asyncio.sleep(2)
    after = resident_mb(server.pid)
    _leave(crowd)
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
                    talks = await made(scene, count, in_lane=True)
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
                talks = await made(scene, READERS, in_lane=True)
                conversations = [talks[number % READERS].conversation for number in range(arguments.idle)]
                async with start() as server:
                    print(f"  {server.name:10} {await idle(server, conversations)}", flush=True)


def both(scene: Scene, program: str) -> tuple[Callable[[], Any], ...]:
    """How each of the two is started."""
    return (lambda: parley(scene), lambda: centrifugo(scene, program, topics.LANES))


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
    os.sched_setaffinity(0, {BENCH_CORE})  # the brokers inherit it
    on_brokers(lambda *given: main(arguments, arguments.centrifugo, *given))


if __name__ == "__main__":
    run()
