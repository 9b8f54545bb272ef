"""An inference worker: one member of one pool. The only place of this service that builds objects."""

import asyncio
import logging
import os
import random
import socket
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from aiohttp import web

from inference_consumers.control.policies import PoliciesInForce
from inference_consumers.control.requests import StopRequests
from inference_consumers.control.stops import Stops
from inference_consumers.engines.catalogue import EngineKind, EngineSettings, chosen, make_engine, needs_model
from inference_consumers.engines.port import Engine, EngineInfo, EngineLoad
from inference_consumers.engines.settings import OpenAISettings, SimulatedSettings, TorchSettings, VllmSettings
from inference_consumers.fleet.counting import Counting
from inference_consumers.fleet.deployment import deployment_of
from inference_consumers.fleet.gpus import Gpus, visible_gpus
from inference_consumers.fleet.reporter import Reporter
from inference_consumers.generating.tools import Tools
from inference_consumers.intake.group_member import GroupTimes
from inference_consumers.intake.kafka_intake import KafkaIntake
from inference_consumers.intake.kafka_payloads import KafkaPayloads
from inference_consumers.publishing.kafka_turn_log import KafkaOutlet, KafkaTurnLog
from inference_consumers.settings import InferenceSettings
from inference_consumers.worker import ROLE, Worker
from infra.runtime.clock import SYSTEM
from infra.runtime.kafka import Appender, KafkaSettings
from infra.runtime.kafka_follow import Follower
from infra.runtime.kafka_log import LogReader
from infra.runtime.metrics import Metrics
from infra.runtime.service import Readiness, ServiceSettings, serve
from infra.runtime.settings import SettingsSource
from schemas import instants, topics
from schemas.errors import EngineDead, KafkaUnavailable, SettingsError
from schemas.ids import TurnId
from schemas.records import DeploymentSet, WorkerReported

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_S: Final = 0.5
_HOUR_MS: Final = 3_600_000
_MIB: Final = 1_048_576
# A hand-over is asked for and acknowledged within this, whatever `drain_s` allows: turns must not wait for us.
_HAND_OVER_S: Final = 4.0


async def run(source: SettingsSource) -> None:
    """Run a worker until SIGTERM; running turns are then handed over at a token boundary.

    Raises:
        SettingsError: a setting is wrong.
        EngineDead: the engine is gone; nothing was committed for what it ran.
    """
    service = source.read(ServiceSettings, "service")
    worker = InferenceService(source)
    await serve(
        worker,
        role=ROLE,
        host=service.host,
        metrics_port=service.metrics_port,
        drain_s=service.drain_s,
        metrics=worker.metrics,
    )


class InferenceService:
    """The worker's parts, wired; see `infra.runtime.service.Service`."""

    def __init__(self, source: SettingsSource) -> None:
        self.metrics = Metrics(ROLE)
        self._source = source
        self._settings = settings = source.read(InferenceSettings, "inference")
        self._kafka = kafka = source.read(KafkaSettings, "kafka")
        self._name = f"{settings.pool}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._appender = Appender(kafka, ROLE)
        self._reader = LogReader(kafka, ROLE)
        self._counting = Counting(self.metrics, settings.pool, SYSTEM.monotonic_s)
        horizon_ms = int(settings.max_deadline_h * _HOUR_MS)
        self._stops = Stops(horizon_ms)
        self._policies = PoliciesInForce()
        requests = StopRequests(self._stops, self._on_stop)
        since_ms = SYSTEM.wall_ms() - horizon_ms
        self._followers = (
            Follower(kafka, topics.POLICIES, self._policies.on_entry, role=ROLE),
            Follower(kafka, topics.CONTROL, requests.on_entry, since_ms=since_ms, role=ROLE),
        )
        self._reporter = Reporter(self._appender, self._report, self._set_gauges)
        self._state = "starting"
        self._deployment: DeploymentSet | None = None
        self._engine: Engine | None = None
        self._info: EngineInfo | None = None
        self._worker: Worker | None = None
        self._intake: KafkaIntake | None = None
        self._gpus = Gpus()

    @property
    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """None of its own."""
        return ()

    async def start(self) -> None:
        """Load the model, read stops and policies to their ends, then join the pool."""
        await _when_kafka_is_there(self._appender.start)
        self._reporter.start()
        self._deployment = await _when_kafka_is_there(lambda: deployment_of(self._settings.pool, self._reader))
        self._engine = self._made_engine()
        if self._engine is not None:
            self._info = await self._engine.start()
            self._gpus = visible_gpus()
        for follower in self._followers:
            await _when_kafka_is_there(follower.start)
        self._worker = self._made_worker()
        times = GroupTimes(session_ms=self._settings.session_timeout_ms, heartbeat_ms=self._settings.heartbeat_ms)
        self._intake = KafkaIntake(self._kafka, self._settings.pool, times, self._worker, self._reader)
        self._worker.attach(self._intake)
        await _when_kafka_is_there(self._intake.start)
        self._state = "ready"

    async def watch(self) -> None:
        """Work; raises what ends the process before it commits anything more."""
        if self._worker is None or self._intake is None:
            return
        working = asyncio.gather(self._worker.run(), self._intake.watch())
        try:
            await working
        except EngineDead:
            self._state = "dead"
            raise
        finally:
            working.cancel()

    async def drain(self) -> None:
        """Take nothing more, hand running turns over at a token boundary, commit and leave at once."""
        self._state = "draining"
        if self._worker is None or self._intake is None:
            return
        await self._intake.pause()
        try:
            async with asyncio.timeout(_HAND_OVER_S):
                await self._worker.hand_over()
        except TimeoutError:
            log.warning("some turns were not handed over in time: they are claimed anew without us")
        await self._intake.leave()

    async def stop(self) -> None:
        """Let go of everything; what was not committed is somebody else's."""
        if self._worker is not None:
            await self._worker.stop()
        if self._intake is not None:
            # After a drain this finds nothing left to do.
            await self._intake.abandon()
        await self._reporter.stop()
        if self._engine is not None:
            await self._engine.stop()
        for follower in self._followers:
            await follower.stop()
        await self._appender.stop()
        await self._reader.stop()

    def readiness(self) -> Readiness:
        """Ready while the group counts this worker in."""
        degraded = list(self._intake.alarms()) if self._intake is not None else []
        if not all(follower.is_live for follower in self._followers):
            degraded.append("Kafka: stops or policies are not read to their end")
        is_member = self._intake is not None and self._intake.is_member
        return Readiness(is_member and self._state == "ready", tuple(degraded))

    # --- building -----------------------------------------------------------------------------------------------------

    def _made_engine(self) -> Engine | None:
        """The engine that the settings or the deployment name; None in the pool `closing`."""
        named: str = self._settings.engine
        if named == "auto" and self._deployment is not None:
            named = self._deployment.engine
        if topics.CLOSING_POOL in {named, self._settings.pool}:
            return None
        try:
            kind, told = chosen(EngineKind(named))
        except ValueError:
            raise SettingsError(f"the pool {self._settings.pool} names an engine that is not ours: {named}") from None
        if told:
            log.info("%s", told)
        settings = EngineSettings(
            torch=self._source.read(TorchSettings, "torch"),
            vllm=self._source.read(VllmSettings, "vllm"),
            openai=self._source.read(OpenAISettings, "openai"),
            simulated=self._source.read(SimulatedSettings, "simulated"),
        )
        return make_engine(kind, settings, self._model_path() if needs_model(kind) else None)

    def _model_path(self) -> Path | None:
        if self._settings.model_path is not None:
            return self._settings.model_path
        given = self._deployment.model_path if self._deployment is not None else None
        return None if given is None else Path(given)

    def _made_worker(self) -> Worker:
        settings = self._settings
        tools = Tools(
            worker=self._name,
            engine=self._engine,
            log=KafkaTurnLog(self._reader, self._appender),
            outlet=KafkaOutlet(self._appender),
            screens=self._policies,
            can_continue=self._info is None or self._info.can_continue,
            merge_ms=settings.merge_ms,
            temperature=settings.temperature,
            top_p=settings.top_p,
            now_ms=SYSTEM.wall_ms,
            fresh_id=lambda: uuid.uuid4().hex,
            jitter=random.random,
            is_stopped=lambda _entry: False,
            be_alone=_at_once,
            may_release=lambda: True,
            asks_group=_nobody,
            on_started=lambda _entry, _started: None,
            on_tokens=lambda _entry, count: self._counting.tokens_made(count),
            on_end=self._counting.turn_ended,
        )
        return Worker(
            tools,
            topic=topics.inference_topic(settings.pool).name,
            slots=self._info.slots if self._info is not None else settings.closing_slots,
            look_ahead=settings.look_ahead,
            payload_bytes=settings.payload_cache_mb * _MIB,
            stops=self._stops,
            payloads=KafkaPayloads(self._reader),
        )

    # --- hooks --------------------------------------------------------------------------------------------------------

    def _on_stop(self, turn: TurnId) -> None:
        if self._worker is not None:
            self._worker.on_stop(turn)

    def _load(self) -> EngineLoad:
        if self._engine is not None and self._info is not None:
            return self._engine.load()
        running = self._worker.running if self._worker is not None else 0
        return EngineLoad(slots=self._settings.closing_slots, running=running, waiting=0)

    def _report(self) -> WorkerReported:
        load, info, deployment = self._load(), self._info, self._deployment
        at_ms = SYSTEM.wall_ms()
        return WorkerReported(
            id=f"{self._name}.{at_ms}",
            at=instants.from_ms(at_ms),
            worker=self._name,
            pool=self._settings.pool,
            deployment=deployment.deployment if deployment is not None else self._settings.pool,
            model=info.model if info is not None else self._settings.pool,
            model_version=info.version if info is not None else "1",
            engine=info.engine if info is not None else self._settings.engine,
            state=self._state,
            slots=load.slots,
            running=load.running,
            waiting=load.waiting + (self._worker.waiting if self._worker is not None else 0),
            kv_usage=load.kv_usage,
            tokens_per_s=self._counting.tokens_per_s(),
            partitions=tuple(sorted(self._intake.partitions)) if self._intake is not None else (),
        )

    def _set_gauges(self) -> None:
        self._counting.engine(self._load())
        self._counting.gpus(self._gpus.utilization())
        if self._intake is not None:
            for partition, age_s in self._intake.commit_ages_s().items():
                self._counting.commit_age(self._intake.group, self._intake.topic, partition, age_s)


async def _at_once(_entry: object) -> None:
    """No worker, no engine to share."""


async def _nobody(_entry: object) -> bool:
    return False


async def _when_kafka_is_there(act: Callable[[], Awaitable[T]]) -> T:
    """Do it, again and again while Kafka is away: a worker that starts before its brokers waits for them."""
    while True:
        try:
            return await act()
        except KafkaUnavailable as error:
            log.warning("waiting for Kafka: %s", error)
            await asyncio.sleep(_RETRY_S)
