"""Cuts and slow readers: what a reader loses, how soon it goes on at another node, and what it costs the others.

    python -m tests.bench.bench_cuts [--sockets 1000] [--rounds 5] [--tokens 500]

The nodes are processes of their own; the readers of the two last scenes are bare sockets in this one.

- every cut: an answer of `tokens` deltas, resumed behind each of its events at another node, from both layouts; and 20
  readers of it;
- stampede: `sockets` readers, a conversation each, cut at the same moment. Each conversation speaks once while nobody
  reads, then all come back to another node: at once, or with the jitter of the clients (uniform over a second). Time
  runs from a reader's own coming back, the connection included, to the first event that it missed;
- deaf readers: `sockets` readers, one in a hundred of a conversation that speaks 200 kB/s. By turns those read on, or
  stop: the others' latency, and the node's memory.
"""

import argparse
import asyncio
import json
import os
import random
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress

from schemas.ids import ConversationId
from tests.bench.report import environment, percentile, range_of, resident_mb, spread
from tests.bench.sockets import MANY, Crowd, Reader, Voices, made, on_brokers
from tests.delivery.cuts import every_cut
from tests.delivery.process import NodeProcess, node_process
from tests.delivery.scene import Scene, Talk, open_scene
from tests.support.waiting import until

LANES = 16  # as a deployment has by default
SPEAKING = 500  # records a second over all conversations
JITTER_S = 1.0
LIMIT_S = 60.0
SILENCE_S = 0.5
DEAF_SHARE = 100
LOUD_BYTES = 8192
LOUD_RATE = 25
PHASE_S = 8.0
SAMPLE_QUIET = 5  # a phase brings each quiet reader some sixteen frames


class Follower(Reader):
    """A reader that remembers its position and what it has seen, and can be cut and come back."""

    def __init__(self, key: str, conversation: ConversationId, seen: list[int], after: str | None = None) -> None:
        frame = {"type": "subscribe", "ref": 1, "conversation": conversation, "after": after}
        super().__init__(key, json.dumps(frame).encode(), [])
        self.conversation = conversation
        self.position = after
        self.seen = seen
        self.is_recovered = False
        self.first_at: float | None = None
        self.went_on: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def took(self, frame: bytes) -> None:
        """The answer to the subscribe, then events."""
        value = json.loads(frame)
        if value["type"] not in {"subscribed", "event"}:
            return
        self.position = value["position"]
        if not self.ready.done():
            self.is_recovered = value["recovered"]
            self.ready.set_result(None)
            return
        if self.first_at is None:
            self.first_at = time.perf_counter()
            self.went_on.set_result(None)
        if value["event"]["type"] == "turn.delta":
            self.seen += range(value["event"]["seq"], (value["event"].get("last_seq") or value["event"]["seq"]) + 1)

    def cut(self) -> None:
        """As a network does it."""
        assert self.transport is not None
        self.transport.abort()


async def come_back(cut: Follower, key: str, port: int, wait_s: float) -> tuple[Follower, float]:
    """The reader at its new node, and the seconds until its first missed event."""
    await asyncio.sleep(wait_s)
    begun = time.perf_counter()
    again = Follower(key, cut.conversation, cut.seen, cut.position)
    await asyncio.get_running_loop().create_connection(lambda: again, "127.0.0.1", port)
    async with asyncio.timeout(LIMIT_S):
        await again.went_on
    assert again.first_at is not None
    return again, again.first_at - begun


async def stampede(scene: Scene, nodes: Sequence[NodeProcess], talks: Sequence[Talk], rounds: int, name: str) -> None:
    """All cut at once, again and again, from one node to the other."""
    voices = Voices(talks)
    await voices.begin()
    followers = [Follower(scene.key, talk.conversation, []) for talk in talks]
    for start in range(0, len(followers), 100):
        some = followers[start : start + 100]
        for each in some:
            await asyncio.get_running_loop().create_connection(lambda one=each: one, "127.0.0.1", nodes[0].port)  # type: ignore[misc]
        await asyncio.gather(*(each.ready for each in some))
    for jitter_s in (0.0, JITTER_S):
        took_ms: list[float] = []
        p99_ms: list[float] = []
        histories = 0
        for number in range(1, rounds + 1):
            voices.again()
            await voices.speak(SPEAKING, 1.0)
            for each in followers:
                each.cut()
            await voices.once_each()
            port = nodes[number % 2].port
            speaking = asyncio.create_task(voices.speak(SPEAKING, 3.0 + jitter_s))
            back = [come_back(each, scene.key, port, random.uniform(0, jitter_s)) for each in followers]
            found = await asyncio.gather(*back)
            await speaking
            followers = [each for each, _ in found]
            times_ms = [seconds * 1000 for _, seconds in found]
            took_ms += times_ms
            p99_ms.append(percentile(times_ms, 0.99))
            histories += sum(not each.is_recovered for each in followers)
        lost, doubled = await missing(voices, followers)
        how = f"over {jitter_s:.0f} s" if jitter_s else "at once"
        print(
            f"stampede, {name}: {len(followers)} sockets come back {how}, {rounds} rounds\n"
            f"  to the first missed event  {spread(took_ms, 'ms')}\n"
            f"  p99 of each round          {range_of(p99_ms, 'ms')}\n"
            f"  lost {lost}, twice {doubled}, answered by a history {histories}",
            flush=True,
        )
        if not jitter_s:
            print(f"  nodes at {resident_mb(nodes[0].pid):.0f} and {resident_mb(nodes[1].pid):.0f} MB")
    for each in followers:
        each.cut()


async def missing(voices: Voices, followers: Sequence[Follower]) -> tuple[int, int]:
    """Events that readers never got, and those that they got more than once, when all has been quiet for a while."""
    said = dict(zip((talk.conversation for talk in voices.talks), voices.seqs, strict=True))

    async def is_all_there() -> bool:
        return all(len(set(each.seen)) >= said[each.conversation] for each in followers)

    with suppress(TimeoutError):
        await until(is_all_there, limit_s=LIMIT_S)
    # What comes twice may come behind the last that was missing.
    heard = 0
    while (count := sum(len(each.seen) for each in followers)) > heard:
        heard = count
        await asyncio.sleep(SILENCE_S)
    lost = sum(said[each.conversation] - len(set(each.seen)) for each in followers)
    return lost, sum(len(each.seen) - len(set(each.seen)) for each in followers)


async def deaf(scene: Scene, count: int, rounds: int) -> None:
    """Phases by turns: the readers of the loud conversation read, or stop."""
    few = max(1, count // DEAF_SHARE)
    quiet = await made(scene, count - few, in_lane=True)
    voices = Voices(quiet)
    await voices.begin()
    found: dict[bool, list[float]] = {False: [], True: []}
    p99_ms: dict[bool, list[float]] = {False: [], True: []}
    closed = 0
    async with node_process(scene, **MANY) as node:
        latencies_ms: list[float] = []
        crowd = Crowd(node)
        await crowd.connect(scene.key, [talk.conversation for talk in quiet], latencies_ms, SAMPLE_QUIET)
        memory = [resident_mb(node.pid)]
        for number in range(2 * rounds):
            stops = number % 2 == 1
            [loud] = await made(scene, 1, in_lane=True)
            shout = Voices([loud], text="x" * LOUD_BYTES)
            await shout.begin()
            some = await crowd.connect(scene.key, [loud.conversation] * few, [])
            for each in some:
                assert each.transport is not None
                if stops:
                    each.transport.pause_reading()
            latencies_ms.clear()
            voices.again()
            watching = asyncio.create_task(_watched(node, memory))
            await asyncio.gather(voices.speak(2 * count, PHASE_S), shout.speak(LOUD_RATE, PHASE_S))
            watching.cancel()
            found[stops] += latencies_ms
            p99_ms[stops].append(percentile(latencies_ms, 0.99))
            closed += sum(await asyncio.gather(*(_was_closed(each) for each in some))) if stops else 0
            for each in some:
                assert each.transport is not None
                each.transport.abort()
    print(f"deaf readers: {few} of {count}, {2 * rounds} phases of {PHASE_S:.0f} s by turns, {2 * count} records/s")
    for stops, how in ((False, "all read  "), (True, f"{few} stop  ")):
        print(f"  {how}  others  {spread(found[stops], 'ms')}; p99 of each phase {range_of(p99_ms[stops], 'ms')}")
    print(f"  closed with 4001: {closed} of {few * rounds}; node {memory[0]:.0f} MB before, {range_of(memory, 'MB')}")


async def _watched(node: NodeProcess, memory: list[float]) -> None:
    while True:
        memory.append(resident_mb(node.pid))
        await asyncio.sleep(1)


async def _was_closed(reader: Reader) -> bool:
    """Read on: True when the node has given the reader up, by a frame or by dropping the socket behind it."""
    assert reader.transport is not None
    with suppress(RuntimeError):
        reader.transport.resume_reading()
    with suppress(TimeoutError):
        async with asyncio.timeout(LIMIT_S):
            await reader.gone
    return reader.gone.done()


async def main(arguments: argparse.Namespace, kafka: str, cassandra: tuple[str, int], keyspace: str) -> None:
    """All scenes, one after the other."""
    print(environment(), f"; load of the machine before: {os.getloadavg()[0]:.1f}")
    async with AsyncExitStack() as stack:
        prefix = f"b{os.getpid()}."
        scene = await stack.enter_async_context(open_scene(kafka, cassandra, prefix, keyspace, lanes=LANES))
        for in_lane, name in ((False, "own topics"), (True, "lanes")):
            async with node_process(scene, **MANY) as first, node_process(scene, **MANY) as second:
                if arguments.tokens:
                    cuts = await every_cut(scene, first, second, arguments.tokens, in_lane=in_lane)
                    alike = f"{cuts.readers_alike} readers alike"
                    print(f"every cut, {name}: {cuts.exact} of {cuts.places} places exact, {alike}", flush=True)
                talks = await made(scene, arguments.sockets, in_lane=in_lane)
                await stampede(scene, (first, second), talks, arguments.rounds, name)
        await deaf(scene, arguments.sockets, arguments.rounds)


def run() -> None:
    """On the brokers of the environment, or on fresh ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=500, help="0: no cuts")
    arguments = parser.parse_args()
    on_brokers(lambda *brokers: main(arguments, *brokers))


if __name__ == "__main__":
    run()
