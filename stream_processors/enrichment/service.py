"""The enrichment service, built by hand: what `parley run enrichment` runs."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from infra.runtime.band_settings import BandSettings
from infra.runtime.cassandra import CassandraSettings, Store
from infra.runtime.clock import SYSTEM
from infra.runtime.kafka import Appender, KafkaSettings, Placed
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_topics import TopicAdmin
from infra.runtime.metrics import Metrics
from infra.runtime.service import Readiness, ServiceSettings, serve
from infra.runtime.settings import SettingsSource
from infra.runtime.turn_store import TurnStore
from schemas import topics
from schemas.errors import DependencyError, InvariantBroken, KafkaUnavailable
from schemas.records import TurnEnded
from stream_processors.enrichment.app import GateApp, RecoveredTable, RocksStore
from stream_processors.enrichment.changelog import Changelog
from stream_processors.enrichment.contexts import Contexts
from stream_processors.enrichment.counting import Measures
from stream_processors.enrichment.dispatcher import Dispatcher
from stream_processors.enrichment.facts import Limits
from stream_processors.enrichment.fencing import GENERATION_HEADER
from stream_processors.enrichment.fleet_view import FleetView
from stream_processors.enrichment.hands import Hands
from stream_processors.enrichment.loader import Loader
from stream_processors.enrichment.own_topics import KafkaOwnTopics
from stream_processors.enrichment.processing import Gate, Taken
from stream_processors.enrichment.requests import Requests
from stream_processors.enrichment.settings import EnrichmentSettings, FallbackSettings, InstructionSettings
from stream_processors.enrichment.states import States
from stream_processors.enrichment.terms import Terms
from stream_processors.enrichment.ticks import Looks, Ticks
from stream_processors.enrichment.waiting import QueueGauges

log = logging.getLogger(__name__)

ROLE: Final = "enrichment"
_BACKOFF_S: Final = 1.0
# How long an idle conversation waits at most for the next look at it and at the store.
_AGAIN_S: Final = 60.0


async def run(source: SettingsSource) -> None:
    """Run until SIGTERM or SIGINT. Raises SettingsError for wrong settings, InvariantBroken for a bug."""
    common = source.read(ServiceSettings, "service")
    metrics = Metrics(ROLE)
    service = EnrichmentService(
        kafka=source.read(KafkaSettings, "kafka"),
        cassandra=source.read(CassandraSettings, "cassandra"),
        settings=source.read(EnrichmentSettings, "enrichment"),
        bands=dict(source.read_table(BandSettings, "band")),
        fallbacks=dict(source.read_table(FallbackSettings, "fallback")),
        instructions={
            tenant: each.text for tenant, each in source.read_table(InstructionSettings, "instructions").items()
        },
        metrics=metrics,
    )
    await serve(
        service,
        role=ROLE,
        host=common.host,
        metrics_port=common.metrics_port,
        drain_s=common.drain_s,
        metrics=metrics,
    )


class EnrichmentService:
    """Gate, loader, clock and the faust app that feeds them.

    Args:
        on_step: see `Hands`.
    """

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        cassandra: CassandraSettings,
        settings: EnrichmentSettings,
        bands: dict[str, BandSettings],
        fallbacks: dict[str, FallbackSettings] | None = None,
        instructions: dict[str, str],
        metrics: Metrics,
        on_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self._kafka = kafka
        self._settings = settings
        self._terms = Terms(
            bands=bands,
            fallbacks=fallbacks or {},
            instructions=instructions,
            answer_tokens=settings.answer_tokens,
        )
        self._metrics = metrics
        self._on_step = on_step
        self._appender = Appender(kafka, ROLE)
        self._reader = LogReader(kafka, ROLE)
        self._admin = TopicAdmin(kafka, ROLE)
        self._own_topics = KafkaOwnTopics(kafka, self._appender, self._admin, ROLE)
        self._limits = _limits(settings, kafka.lanes)
        self._store = Store(cassandra)
        self._fleet = FleetView(kafka, ROLE)
        self._measures = Measures()
        self._gauges = QueueGauges(metrics)
        self._broken: asyncio.Future[None] | None = None
        self._app: GateApp | None = None
        self._gate: Gate | None = None
        self._loader: Loader | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """None of its own."""
        return ()

    async def start(self) -> None:
        """Wait for Kafka, then join the group. The store may be away."""
        self._broken = asyncio.get_running_loop().create_future()
        await self._until_kafka_answers()
        app = self._app = GateApp(
            self._kafka,
            self._settings,
            take=self._take,
            on_opened=self._opened,
            on_closed=self._closed,
            on_broken=self._on_broken,
        )
        states = self._changelog(topics.GATE_CHANGELOG, app.gate)
        contexts = self._changelog(topics.CONTEXT_CHANGELOG, app.context)
        gate = self._gate = self._gate_on(states, contexts)
        await app.start()
        looks = Looks(
            gate,
            {topics.GATE_CHANGELOG: states, topics.CONTEXT_CHANGELOG: contexts},
            self._reader,
            self._kafka,
            own_topics=self._own_topics,
            clock=SYSTEM,
            limits=self._limits,
        )
        ticks = Ticks(gate, self._appender, SYSTEM)
        self._tasks += [
            asyncio.create_task(ticks.run(), name="ticks"),
            asyncio.create_task(looks.run(), name="looks"),
            asyncio.create_task(self._watch_commits(), name="commits"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._on_task_done)

    def _gate_on(self, gate_table: Changelog, context_table: Changelog) -> Gate:
        limits = self._limits
        states = States(gate_table, gauges=self._gauges, clock=SYSTEM, limits=limits)
        requests = Requests(self._reader)
        contexts = Contexts(context_table, requests=requests, measures=self._measures, fleet=self._fleet)
        dispatcher = Dispatcher(
            contexts=contexts,
            requests=requests,
            measures=self._measures,
            fleet=self._fleet,
            gauges=self._gauges,
            clock=SYSTEM,
            limits=limits,
            terms=self._terms,
        )
        loader = self._loader = Loader(
            TurnStore(self._store), self._appender, SYSTEM.wall_ms, self._settings.context_turns
        )
        hands = Hands(
            appender=self._appender,
            reader=self._reader,
            admin=self._admin,
            clock=SYSTEM,
            words=dispatcher,
            own_topics=self._own_topics,
            elsewhere=dispatcher.elsewhere,
            load=loader.want,
            on_step=self._on_step,
            on_ended=self._ended,
        )
        return Gate(
            states=states,
            contexts=contexts,
            requests=requests,
            dispatcher=dispatcher,
            hands=hands,
            appender=self._appender,
            clock=SYSTEM,
            priorities=self._terms.priorities,
            on_broken=self._on_broken,
            listed=self._own_topics.owner,
        )

    async def _take(self, taken: Taken) -> None:
        await self._built.take(taken)

    def _opened(self, partition: int, generation: int, ends: tuple[int, int]) -> None:
        self._built.opened(partition, generation=generation, ends=ends)

    def _closed(self) -> None:
        self._built.closed()

    @property
    def _built(self) -> Gate:
        if self._gate is None:
            raise InvariantBroken("an input came before the gate was built")
        return self._gate

    @property
    def partitions(self) -> tuple[int, ...]:
        """Those that this process owns and has recovered."""
        return () if self._gate is None else self._gate.partitions

    async def watch(self) -> None:
        """Never returns; raises what the service can't go on from: the next process begins at the commit."""
        broken, app = self._broken, self._app
        if broken is None or app is None:
            return
        stopped = asyncio.ensure_future(app.until_stopped())
        try:
            await asyncio.wait({broken, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        if broken.done():
            broken.result()
        if stopped.done() and not stopped.cancelled():
            stopped.result()
        raise KafkaUnavailable("faust has stopped by itself")

    async def drain(self) -> None:
        """Leave the group: what was taken in is finished and acknowledged first."""
        for task in self._tasks:
            task.remove_done_callback(self._on_task_done)
            task.cancel()
        app, self._app = self._app, None
        if app is not None:
            await app.stop(is_broken=False)

    async def stop(self) -> None:
        """Let go of everything."""
        for task in self._tasks:
            task.remove_done_callback(self._on_task_done)
            task.cancel()
        app, self._app = self._app, None
        if app is not None:
            await app.stop(is_broken=True)
        if self._loader is not None:
            await self._loader.stop()
        await self._fleet.stop()
        await self._own_topics.stop()
        await self._appender.stop()
        await self._reader.stop()
        await self._admin.stop()
        await self._store.stop()

    def readiness(self) -> Readiness:
        """Ready when the group gave us our part and it is recovered; another process may hold all of it."""
        degraded = []
        if self._loader is not None and self._loader.is_away:
            degraded.append("cassandra: conversations that were forgotten wait")
        if not self._own_topics.is_live:
            degraded.append("kafka: the directory isn't followed, so no topic is retired")
        if not self._fleet.is_live:
            degraded.append("kafka: the fleet isn't followed")
        is_joined = self._app is not None and not self._app.app.rebalancing
        return Readiness(ok=is_joined, degraded=tuple(degraded))

    async def _until_kafka_answers(self) -> None:
        rows = [*topics.TOPICS.values(), topics.inference_topic(topics.CLOSING_POOL)]
        while True:
            try:
                await self._admin.apply(rows)
                await self._appender.start()
                await self._reader.start()
                await self._fleet.start()
                await self._own_topics.start()
            except DependencyError as error:
                log.warning("waiting for Kafka: %s", error)
                await asyncio.sleep(_BACKOFF_S)
            else:
                break
        await self._store.start()
        for deployment in self._fleet.deployments:
            await self._measures.ready(deployment)

    def _changelog(self, topic: str, table: RecoveredTable) -> Changelog:
        async def send(partition: int, key: bytes, value: bytes | None, generation: int) -> "asyncio.Future[Placed]":
            headers = ((GENERATION_HEADER, str(generation).encode()),) if value is None else ()
            return await self._appender.send_bytes(topic, value, key=key, partition=partition, headers=headers)

        changelog = Changelog(topic, send, RocksStore(table), self._on_broken)
        table.changelog = changelog
        return changelog

    async def _watch_commits(self) -> None:
        """`parley_commit_age_seconds`: how long an input has been finished and not committed, by partition."""
        gauge = self._metrics.gauge("parley_commit_age_seconds")
        group = self._kafka.named("parley-enrichment")
        since: dict[tuple[str, int], tuple[int, float]] = {}
        while True:
            self._show_pools()
            await asyncio.sleep(1.0)
            now_s = SYSTEM.monotonic_s()
            committed = {} if self._app is None else self._app.committed()
            for place, offset in self._built.acknowledged.items():
                behind = committed.get(place, 0) <= offset
                first = since.get(place)
                if not behind:
                    since.pop(place, None)
                elif first is None:
                    since[place] = (offset, now_s)
                age_s = now_s - since[place][1] if place in since else 0.0
                gauge.labels(group, place[0], str(place[1])).set(age_s)

    def _show_pools(self) -> None:
        pools = [each.pool for each in self._fleet.deployments if each.pool != topics.CLOSING_POOL]
        self._gauges.expect(pools, set(self._terms.priorities.values()) or {0})

    def _ended(self, end: TurnEnded) -> None:
        """A turn that no worker counts."""
        self._metrics.counter("parley_turns_total").labels(end.reason.value, end.model or "none", end.tier).inc()

    def _on_broken(self, error: BaseException) -> None:
        log.error("the gate stops before it acknowledges anything more", exc_info=error)
        if self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)

    def _on_task_done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self._on_broken(task.exception() or InvariantBroken(f"{task.get_name()} ended"))


def _limits(settings: EnrichmentSettings, lanes: int) -> Limits:
    again_s = min(_AGAIN_S, settings.retire_after_s, settings.linger_s)
    return Limits(
        waiting=settings.max_waiting,
        remember_ms=int(settings.forget_after_s * 1000),
        retire_ms=int(settings.retire_after_s * 1000),
        linger_ms=int(settings.linger_s * 1000),
        again_ms=int(again_s * 1000),
        lanes=lanes,
    )
