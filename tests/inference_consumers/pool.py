"""A pool for tests: its topics on a real Kafka, turns dispatched by hand, workers as real processes."""

import asyncio
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from infra.runtime.kafka import Appender, KafkaSettings, Placed
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_topics import TopicAdmin
from schemas import codec, ids, instants, topics
from schemas.fold import TurnFold
from schemas.ids import TurnId
from schemas.records import (
    Record,
    TurnAccepted,
    TurnCompleted,
    TurnDispatched,
    TurnStopRequested,
    UsageRecorded,
)
from schemas.turns import LogAddress, Message, Options, Role
from tests.support.waiting import until

T = TypeVar("T", bound=Record)

POOL: Final = "default"
_WORKER: Final = (
    "from infra.runtime.service import run_service; from infra.runtime.settings import SettingsSource; "
    "from inference_consumers.main import run; import sys; sys.exit(run_service(run, SettingsSource(), 'inference'))"
)
# The group's session is 3 s; a busy machine may take some more until a successor speaks.
TAKEOVER_S: Final = 20.0


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def dispatch_of(
    text: str,
    *,
    pool: str = POOL,
    log: LogAddress | None = None,
    tenant: str = "acme",
    deadline_s: float = 60.0,
    **more: Any,
) -> TurnDispatched:
    """A first turn that asks `text`, as the gate dispatches it."""
    conversation = ids.conversation_id(uuid.uuid4().hex)
    turn = ids.turn_id(conversation, uuid.uuid4().hex)
    at_ms = now_ms()
    values: dict[str, Any] = {
        "id": f"{turn}.dispatch.1", "at": instants.from_ms(at_ms), "tenant": tenant, "conversation": conversation,
        "turn": turn, "dispatch": 1, "pool": pool, "deployment": "test", "model": "simulated", "model_version": "1",
        "log": log or LogAddress(topics.LANES, 0), "place": None, "order": 0, "n": 1, "parent": None, "epoch": 0,
        "user": "u", "key_id": "k", "tier": "standard", "cost_class": "standard", "stored": True,
        "accepted_at": instants.from_ms(at_ms), "deadline_at": instants.from_ms(at_ms + int(deadline_s * 1000)),
        "input_text": text, "messages": (Message(Role.USER, text),), "options": Options(), "prompt_tokens": 4,
    }  # fmt: skip
    return TurnDispatched(**(values | more))


@dataclass
class WorkerProcess:
    """A real worker."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)
    reading: "asyncio.Task[None] | None" = None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit status."""
        return await asyncio.wait_for(self.process.wait(), 15)

    async def stop(self) -> None:
        """Gone, whatever it was doing."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        if self.reading is not None:
            await self.reading

    async def said(self, text: str) -> bool:
        """Wait until it logs this."""

        async def has() -> bool:
            return any(text in line for line in self.lines)

        return await until(has, limit_s=TAKEOVER_S)

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode())


@dataclass
class Pool:
    """One prefix with its topics, and what a test asks of it."""

    settings: KafkaSettings
    appender: Appender
    reader: LogReader
    admin: TopicAdmin

    @asynccontextmanager
    async def worker(self, *, pool: str = POOL, **environ: str) -> AsyncIterator[WorkerProcess]:
        """A worker that has joined; gone behind the block."""
        engine = "closing" if pool == topics.CLOSING_POOL else "simulated"
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _WORKER, stderr=asyncio.subprocess.PIPE,
            env={
                **os.environ, "PARLEY_KAFKA_BOOTSTRAP": self.settings.bootstrap,
                "PARLEY_KAFKA_TOPIC_PREFIX": self.settings.topic_prefix, "PARLEY_INFERENCE_ENGINE": engine,
                "PARLEY_INFERENCE_POOL": pool, "PARLEY_LOG_LEVEL": "debug", "PARLEY_SIMULATED_TTFT_MS": "5", **environ,
            },
        )  # fmt: skip
        worker = WorkerProcess(process)
        worker.reading = asyncio.create_task(worker._read())
        try:
            await worker.said("inference is up")
            yield worker
        except BaseException:
            sys.stderr.write("".join(worker.lines[-60:]))
            raise
        finally:
            await worker.stop()

    async def dispatch(self, dispatched: TurnDispatched, *, partition: int | None = None) -> Placed:
        """Accept the turn into its log and dispatch it to its pool."""
        await self.accept(dispatched)
        return await self.again(dispatched, partition=partition)

    async def accept(self, dispatched: TurnDispatched) -> None:
        """Append `turn.accepted`."""
        accepted = TurnAccepted(
            id=f"{dispatched.turn}.accepted", at=dispatched.at, tenant=dispatched.tenant,
            conversation=dispatched.conversation, turn=dispatched.turn, order=dispatched.order,
            text=dispatched.input_text, user=dispatched.user, parent=None, client_key=None, n=dispatched.n,
        )  # fmt: skip
        await self.appender.append(dispatched.log.topic, accepted, partition=dispatched.log.partition)

    async def again(self, dispatched: TurnDispatched, *, partition: int | None = None) -> Placed:
        """Append the dispatch alone."""
        return await self.appender.append(f"inference.{dispatched.pool}", dispatched, partition=partition)

    async def stop_turn(self, dispatched: TurnDispatched) -> None:
        """Ask for the turn's stop."""
        record = TurnStopRequested(
            id=uuid.uuid4().hex, at=instants.from_ms(now_ms()), tenant=dispatched.tenant,
            conversation=dispatched.conversation, turn=dispatched.turn,
        )  # fmt: skip
        await self.appender.append(topics.CONTROL, record)

    async def records(self, kind: type[T], topic: str, turn: TurnId | None = None) -> list[T]:
        """All records of a kind on a topic, in order within partitions."""
        found: list[T] = []
        for partition in await self.reader.partitions(topic):
            beginning, _end = await self.reader.bounds(topic, partition)
            for entry in await self.reader.read_all(topic, partition, beginning):
                if entry.value is None:
                    continue
                record = codec.decode(entry.value)
                if isinstance(record, kind) and (turn is None or record.turn == turn):
                    found.append(record)
        return found

    async def log(self, dispatched: TurnDispatched) -> list[tuple[int, Record]]:
        """The turn's records in its log."""
        log = dispatched.log
        beginning, _end = await self.reader.bounds(log.topic, log.partition)
        entries = await self.reader.read_all(log.topic, log.partition, beginning)
        decoded = [(entry.offset, codec.decode(entry.value or b"")) for entry in entries]
        return [(offset, record) for offset, record in decoded if record.turn == dispatched.turn]

    async def fold(self, dispatched: TurnDispatched) -> TurnFold:
        """What every reader sees of the turn now."""
        assert dispatched.turn is not None
        fold = TurnFold(dispatched.turn)
        for offset, record in await self.log(dispatched):
            fold.take(record, offset)
        return fold

    async def ended(self, dispatched: TurnDispatched, *, limit_s: float = TAKEOVER_S) -> TurnFold:
        """Wait until the turn has ended and is in `chat.turns`."""

        async def ask() -> TurnFold | None:
            fold = await self.fold(dispatched)
            return fold if fold.ended is not None and await self.completed(dispatched) else None

        fold = await until(ask, limit_s=limit_s)
        assert fold is not None
        return fold

    async def shown(self, dispatched: TurnDispatched, *, deltas: int = 1) -> TurnFold:
        """Wait until so many deltas are seen."""

        async def ask() -> TurnFold | None:
            fold = await self.fold(dispatched)
            return fold if fold.cursor.seq >= deltas else None

        fold = await until(ask, limit_s=TAKEOVER_S)
        assert fold is not None
        return fold

    async def completed(self, dispatched: TurnDispatched) -> list[TurnCompleted]:
        """The turn's records in `chat.turns`."""
        return await self.records(TurnCompleted, topics.TURNS, dispatched.turn)

    async def usage(self, dispatched: TurnDispatched) -> list[UsageRecorded]:
        """The turn's records in `chat.usage`."""
        return await self.records(UsageRecorded, topics.USAGE, dispatched.turn)


@asynccontextmanager
async def open_pool(
    bootstrap: str,
    prefix: str,
    *,
    partitions: int = 2,
    lanes: int = 2,
    pools: tuple[str, ...] = (POOL, topics.CLOSING_POOL),
) -> AsyncIterator[Pool]:
    """All topics under the prefix, gone behind the block."""
    settings = KafkaSettings(
        bootstrap=bootstrap, topic_prefix=prefix, partitions=1, inference_partitions=partitions, lanes=lanes
    )
    admin, appender, reader = (
        TopicAdmin(settings, "test"),
        Appender(settings, "enrichment"),
        LogReader(settings, "test"),
    )
    await admin.create([*topics.TOPICS.values(), *(topics.inference_topic(pool) for pool in pools)])
    await appender.start()
    try:
        yield Pool(settings, appender, reader, admin)
    finally:
        await appender.stop()
        await reader.stop()
        await admin.delete(await admin.names())
        await admin.stop()


def with_environ(environ: Mapping[str, object]) -> dict[str, str]:
    """Settings as an environment."""
    return {name: str(value) for name, value in environ.items()}


__all__ = ["Pool", "WorkerProcess", "dispatch_of", "now_ms", "open_pool", "replace", "until"]
