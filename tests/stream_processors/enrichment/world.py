"""A gate on real Kafka with what stands around it: who asks, a fair worker, and eyes on every topic."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.runtime.band_settings import BandSettings
from infra.runtime.cassandra import CassandraSettings
from infra.runtime.clock import SYSTEM
from infra.runtime.kafka import Appender, KafkaSettings
from infra.runtime.kafka_follow import Follower
from infra.runtime.kafka_log import Entry
from infra.runtime.kafka_topics import TopicAdmin
from infra.runtime.metrics import Metrics
from schemas import codec, ids, instants, projection, topics
from schemas.fold import TurnFold
from schemas.ids import ConversationId, TurnId
from schemas.records import (
    DeploymentSet,
    Record,
    TurnAllowed,
    TurnCompleted,
    TurnDelta,
    TurnDispatched,
    TurnEnded,
    TurnStarted,
    WorkerReported,
)
from schemas.turns import Action, Detail, LogAddress, Reason, Source, Stage, TurnRequest, Verdict
from stream_processors.enrichment.service import EnrichmentService
from stream_processors.enrichment.settings import EnrichmentSettings, FallbackSettings

NOWHERE = CassandraSettings(port=1)
POOL = "default"


def now() -> str:
    return instants.from_ms(SYSTEM.wall_ms())


def new_conversation() -> ConversationId:
    return ids.conversation_id(ids.uuid7_hex(SYSTEM.wall_ms(), SYSTEM.entropy(10)))


def new_turn(conversation: ConversationId) -> TurnId:
    return ids.turn_id(conversation, ids.uuid7_hex(SYSTEM.wall_ms(), SYSTEM.entropy(10)))


def allowed(
    conversation: ConversationId,
    text: str,
    *,
    turn: TurnId | None = None,
    new: bool = True,
    stored: bool = True,
    deadline_s: float = 60.0,
    **asked: Any,
) -> TurnAllowed:
    """An allowed turn of tenant `acme` in a lane, so that no topic has to be made."""
    turn = turn or new_turn(conversation)
    at_ms = SYSTEM.wall_ms()
    request = TurnRequest(
        user="u1",
        key_id="k1",
        tier="standard",
        text=text,
        log=topics.address(conversation, retired=True, stored=stored, lanes=2),
        accepted_at=instants.from_ms(at_ms),
        deadline_at=instants.from_ms(at_ms + int(deadline_s * 1000)),
        new=new,
        stored=stored,
        **asked,
    )
    return TurnAllowed(
        id=f"{turn}.moderated",
        at=now(),
        tenant="acme",
        conversation=conversation,
        turn=turn,
        request=request,
        verdict=Verdict(stage=Stage.INPUT, action=Action.ALLOW),
    )


@dataclass
class Seen:
    """Records of one topic as they came."""

    records: list[tuple[int, int, Record]] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def of(self, kind: type, name: str | None = None) -> list[Any]:
        """Records of that type; of one turn or conversation if named."""
        found = [each for _, _, each in self.records if isinstance(each, kind)]
        return [each for each in found if name in (None, each.turn, each.conversation)]


class World:
    """Topics under a prefix of the test's own, and everybody but the gate."""

    def __init__(self, bootstrap: str, prefix: str, partitions: int = 2) -> None:
        self.kafka = KafkaSettings(
            bootstrap=bootstrap, topic_prefix=prefix, partitions=partitions, lanes=2, inference_partitions=2
        )
        self.appender = Appender(self.kafka, "test")
        self.admin = TopicAdmin(self.kafka, "test")
        self.seen: dict[str, Seen] = {}
        self.answering = asyncio.Event()
        self.answering.set()
        self._followers: list[Follower] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._work: asyncio.Queue[tuple[str, int, int, TurnDispatched]] = asyncio.Queue()
        self._dispatches: dict[TurnId, int] = {}
        self.dead_pools: set[str] = set()

    async def start(self, *, with_workers: bool = True, pools: tuple[str, ...] = (POOL,)) -> None:
        served = (*pools, topics.CLOSING_POOL)
        await self.admin.create([*topics.TOPICS.values(), *map(topics.inference_topic, served)])
        await self.appender.start()
        for pool in served:
            engine = "closing" if pool == topics.CLOSING_POOL else "simulated"
            await self.appender.append(topics.DEPLOYMENTS, _deployment(pool, engine))
        watched = (
            topics.TURNS, topics.CONTROL, topics.LANES, topics.UNSTORED_LANES, topics.DEAD_LETTERS,
            topics.CONVERSATIONS, f"inference.{POOL}", f"inference.{topics.CLOSING_POOL}",
        )  # fmt: skip
        for name in watched:
            seen = self.seen[name] = Seen()
            follower = Follower(self.kafka, name, self._eye(name, seen))
            await follower.start()
            self._followers.append(follower)
        if with_workers:
            await self.report()
            self._tasks.append(asyncio.create_task(self._reports()))
            self._tasks.append(asyncio.create_task(self._worker()))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for follower in self._followers:
            await follower.stop()
        await self.appender.stop()
        await self.admin.delete(await self.admin.names())
        await self.admin.stop()

    async def ask(self, record: Record) -> int:
        """Append to `chat.moderated`; the offset."""
        return (await self.appender.append(topics.MODERATED, record)).offset

    async def until(self, topic: str, holds: Callable[[Seen], bool], within_s: float = 30.0) -> Seen:
        """The topic's records once `holds` is true of them."""
        seen = self.seen[topic]
        async with asyncio.timeout(within_s), seen.changed:
            await seen.changed.wait_for(lambda: holds(seen))
        return seen

    async def completed(self, turn: TurnId | None, within_s: float = 30.0) -> TurnCompleted:
        seen = await self.until(topics.TURNS, lambda seen: bool(seen.of(TurnCompleted, turn)), within_s)
        found: TurnCompleted = seen.of(TurnCompleted, turn)[0]
        return found

    async def report(self, pool: str = POOL) -> None:
        await self.appender.append(
            topics.WORKERS,
            WorkerReported(
                id=f"w.{pool}", at=now(), worker=f"w.{pool}", pool=pool, deployment=pool, model="simulated",
                model_version="1", engine="simulated", state="ready", slots=8, running=0, waiting=0, kv_usage=0.0,
                tokens_per_s=0.0,
            ),
        )  # fmt: skip

    def _eye(self, topic: str, seen: Seen) -> Callable[[int, Entry], None]:
        def on_entry(partition: int, entry: Entry) -> None:
            if entry.value is None:
                return
            record = codec.decode(entry.value)
            seen.records.append((partition, entry.offset, record))
            if isinstance(record, TurnDispatched):
                self._work.put_nowait((topic, partition, entry.offset, record))
            asyncio.get_running_loop().create_task(_notify(seen))

        return on_entry

    async def _reports(self) -> None:
        while True:
            await asyncio.sleep(1)
            for pool in {POOL, topics.CLOSING_POOL} - self.dead_pools:
                await self.report(pool)

    async def _worker(self) -> None:
        """Claims in the simplest lawful way: the first source of each dispatch number, one attempt each."""
        while True:
            topic, partition, offset, sent = await self._work.get()
            await self.answering.wait()
            assert sent.turn is not None
            if sent.pool in self.dead_pools:
                continue
            if self._dispatches.get(sent.turn, 0) >= sent.dispatch:
                continue
            attempt = len([1 for turn in self._dispatches if turn == sent.turn]) + 1
            self._dispatches[sent.turn] = sent.dispatch
            await answer(self.appender, sent, Source(topic, partition, offset), attempt)


async def answer(appender: Appender, sent: TurnDispatched, source: Source, attempt: int) -> TurnCompleted:
    """What a worker writes for a turn: started, one delta, ended, TurnCompleted."""
    is_closing = sent.pool == topics.CLOSING_POOL
    base: dict[str, Any] = {
        "tenant": sent.tenant, "conversation": sent.conversation, "turn": sent.turn, "attempt": attempt,
    }  # fmt: skip
    text = "" if is_closing else f"re: {sent.input_text}"
    records: list[Record] = [
        TurnStarted(
            id=f"{sent.turn}.{attempt}.started.{source.offset}", at=now(), dispatch=sent.dispatch, source=source,
            generation=1, model=sent.model, deployment=sent.deployment, degraded=False, **base,
        )
    ]  # fmt: skip
    if text:
        records.append(TurnDelta(id=f"{sent.turn}.{attempt}.0", at=now(), seq=0, text=text, tokens=2, **base))
    records.append(_end(sent, base, len(records) - 1, sent.reason or Reason.STOP))
    fold = TurnFold(sent.turn)  # type: ignore[arg-type]
    for record in records:
        placed = await appender.append(sent.log.topic, record, partition=sent.log.partition)
        fold.take(record, placed.offset)
    completed = projection.completed(fold, sent.log)
    await appender.append(topics.TURNS, completed)
    return completed


def _end(sent: TurnDispatched, base: dict[str, Any], seq: int, reason: Reason) -> TurnEnded:
    return TurnEnded(
        id=f"{sent.turn}.{base['attempt']}.ended", at=now(), seq=seq, reason=reason, error=sent.error, user=sent.user,
        key_id=sent.key_id, tier=sent.tier, cost_class=sent.cost_class, pool=sent.pool, deployment=sent.deployment,
        model=sent.model, model_version=sent.model_version, accepted_at=sent.accepted_at,
        prompt_tokens=sent.prompt_tokens, cached_tokens=0, withheld_tokens=0, discarded_tokens=0, n=sent.n,
        parent=sent.parent, input_text=sent.input_text, interventions=sent.interventions, degraded=False,
        stored=sent.stored, log_start=sent.place, detail=Detail(epoch=sent.epoch), **base,
    )  # fmt: skip


def _deployment(pool: str, engine: str) -> DeploymentSet:
    return DeploymentSet(
        id=f"deployment.{pool}", at=now(), pool=pool, deployment=pool, model="simulated", model_version="1",
        engine=engine, max_model_len=4096,
    )  # fmt: skip


async def _notify(seen: Seen) -> None:
    async with seen.changed:
        seen.changed.notify_all()


@asynccontextmanager
async def gate(
    world: World,
    directory: Path,
    *,
    on_step: Callable[[str], None] = lambda _step: None,
    bands: dict[str, BandSettings] | None = None,
    fallbacks: dict[str, FallbackSettings] | None = None,
    **settings: Any,
) -> AsyncIterator[EnrichmentService]:
    """A running gate in this process."""
    service = EnrichmentService(
        kafka=world.kafka,
        cassandra=settings.pop("cassandra", NOWHERE),
        settings=EnrichmentSettings(data_dir=directory, session_timeout_s=6.0, standby_replicas=0, **settings),
        bands=bands or {"standard": BandSettings(priority=1)},
        fallbacks=fallbacks,
        instructions={"acme": "Be brief."},
        metrics=Metrics("enrichment"),
        on_step=on_step,
    )
    await service.start()
    try:
        async with asyncio.timeout(30):
            while len(service.partitions) < world.kafka.partitions:  # noqa: ASYNC110 - faust tells nobody
                await asyncio.sleep(0.02)
        yield service
        await service.drain()
    finally:
        await service.stop()


__all__ = ["LogAddress", "World", "allowed", "answer", "gate", "new_conversation", "new_turn", "now"]
