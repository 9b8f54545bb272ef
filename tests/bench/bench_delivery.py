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
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from tests.bench.report import cpu_s, environment, resident_mb, spread
from tests.bench.sockets import MANY, Crowd, Reader, Voices, made, on_brokers
from tests.delivery.process import NodeProcess, node_process
from tests.delivery.scene import Scene, open_scene

OWN_TOPICS = 200
WARM_UP_S = 1.5


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
    on_brokers(lambda *brokers: main(arguments, *brokers))


if __name__ == "__main__":
    run()
