"""A day of conversations that fall silent, in minutes: own topics come and go, and the broker stays as it is.

    python -m tests.bench.bench_retiring [--seconds 150] [--per-s 8] [--retire-after-s 10] [--linger-s 5] [--most 400]

A whole `parley up` (simulated engine, layout `adaptive`). Conversations are made at a steady pace, answered by a turn
of three words and never spoken to again. Every ten seconds: own topics on the broker, the broker's resident memory and
open files; at the end, how many began in a topic of their own and are retired. It fails if topics exceed the cap.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import aiohttp

from schemas import codec, ids, topics
from schemas.records import ConversationChanged
from tests.bench.report import environment, resident_mb
from tests.support.analyst import read_whole, topics_of
from tests.support.pipeline import SETTINGS, Pipeline, start

_SAMPLE_S: Final = 10.0
_LIMIT: Final = aiohttp.ClientTimeout(total=60)
_OK: Final = 200


class People:
    """Those who speak once, at a steady pace."""

    def __init__(self, pipeline: Pipeline, per_s: float) -> None:
        self._pipeline = pipeline
        self._per_s = per_s
        self.answered = 0
        self.refused = 0

    async def run(self, seconds: float) -> None:
        """Ask for so long, and wait for the answers."""
        headers = {"Authorization": f"Bearer {self._pipeline.key}"}
        begun_at = time.monotonic()
        asking: set[asyncio.Task[None]] = set()
        async with aiohttp.ClientSession(headers=headers, timeout=_LIMIT) as http:
            number = 0
            while (now := time.monotonic()) < begun_at + seconds:
                while number < (now - begun_at) * self._per_s:
                    number += 1
                    task = asyncio.create_task(self._ask(http))
                    asking.add(task)
                    task.add_done_callback(asking.discard)
                await asyncio.sleep(1 / self._per_s)
            await asyncio.gather(*asking)

    async def _ask(self, http: aiohttp.ClientSession) -> None:
        body = {"model": "simulated", "input": "tokens: 3"}
        try:
            async with http.post(f"{self._pipeline.base_url}/v1/responses", json=body) as got:
                await got.read()
                self.answered += got.status == _OK
                self.refused += got.status != _OK
        except (aiohttp.ClientError, TimeoutError):
            self.refused += 1


def open_files(pid: int) -> int:
    """Files and sockets that a process holds open. Source: proc(5), /proc/PID/fd."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def live(pipeline: Pipeline) -> int:
    """Own topics on the broker, spares included."""
    return sum(name.startswith(topics.OWN_TOPIC_PREFIX) for name in await topics_of(pipeline.kafka))


async def watch(pipeline: Pipeline, people: People, most: int) -> list[int]:
    """A line every ten seconds, until cancelled; appends the topics that were live to what is returned."""
    pid = int((await asyncio.to_thread(pipeline.process, "kafka"))["pid"])
    begun_at, counts = time.monotonic(), list[int]()
    print("    s  answered  own topics  broker MB  broker files", flush=True)
    while True:
        counts.append(await live(pipeline))
        at_s = time.monotonic() - begun_at
        print(
            f"{at_s:5.0f}  {people.answered:8d}  {counts[-1]:10d}  {resident_mb(pid):9.0f}  {open_files(pid):12d}",
            flush=True,
        )
        if counts[-1] > most:
            raise SystemExit(f"{counts[-1]} own topics are live, more than {most}")
        await asyncio.sleep(_SAMPLE_S)


async def fates(pipeline: Pipeline) -> tuple[int, int]:
    """How many conversations were born with a topic of their own, and how many of those are retired."""
    entries = await read_whole(pipeline.kafka, [topics.CONVERSATIONS])
    own, retired = set[ids.ConversationId](), set[ids.ConversationId]()
    for entry in entries:
        record = codec.decode(entry.value)
        if isinstance(record, ConversationChanged) and record.conversation is not None:
            if not record.retired:
                own.add(record.conversation)
            elif record.conversation in own:
                retired.add(record.conversation)
    return len(own), len(retired)


async def measure(pipeline: Pipeline, given: argparse.Namespace) -> None:
    """Speak, then fall silent for as long as a retirement takes, and say what is left."""
    people = People(pipeline, given.per_s)
    spares = await live(pipeline)
    watching = asyncio.create_task(watch(pipeline, people, given.most + spares))
    speaking = asyncio.create_task(people.run(given.seconds))
    await asyncio.wait({watching, speaking}, return_when=asyncio.FIRST_COMPLETED)
    if speaking.done():
        quiet_s = 3 * (given.retire_after_s + given.linger_s)
        await asyncio.wait({watching}, timeout=quiet_s)
    speaking.cancel()
    if watching.done():
        watching.result()
    watching.cancel()
    own, retired = await fates(pipeline)
    print(f"{people.answered} answered, {people.refused} refused; {own} began in an own topic, {retired} are retired")
    print(f"own topics left: {await live(pipeline)}, of which spares at the start: {spares}")


def main() -> int:
    """Print the machine and the course of the day."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--per-s", type=float, default=8.0)
    parser.add_argument("--retire-after-s", type=float, default=10.0)
    parser.add_argument("--linger-s", type=float, default=5.0)
    parser.add_argument("--most", type=int, default=400)
    given = parser.parse_args()
    print(environment())
    environ = {
        **SETTINGS,
        "PARLEY_SIMULATED_SLOTS": "64",
        "PARLEY_ENRICHMENT_RETIRE_AFTER_S": str(given.retire_after_s),
        "PARLEY_ENRICHMENT_LINGER_S": str(given.linger_s),
        "PARLEY_GATEWAY_MAX_CONVERSATION_TOPICS": str(given.most),
    }
    with tempfile.TemporaryDirectory() as place:
        pipeline = start(Path(place) / "data", "--engine", "simulated", environ=environ)
        try:
            asyncio.run(measure(pipeline, given))
        finally:
            pipeline.parley("down")
    return 0


if __name__ == "__main__":
    sys.exit(main())
