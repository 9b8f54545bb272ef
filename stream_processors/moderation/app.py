"""Moderation as a service: a Faust agent over `chat.requests` hands events to one loop that judges and appends.

The agent's body can't raise: it only puts events into a bounded inbox. What has gathered there while the last batch was
being acknowledged is the next batch, so batches grow with the load and nothing waits for a timer.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from infra.runtime.clock import SYSTEM, Clock
from infra.runtime.kafka import Appender
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.metrics import Metrics
from infra.runtime.service import Readiness
from schemas import instants, topics
from schemas.turns import Source
from stream_processors.commit_age import CommitAge
from stream_processors.faust_app import App, FaustRunner, end_process, make_app
from stream_processors.moderation.appending import PatientAppender
from stream_processors.moderation.judging import ROLE, Judgement, Output, dead_letter, judgement
from stream_processors.moderation.policies import PolicyFollower
from stream_processors.moderation.settings import ModerationSettings

GROUP: Final = "parley-moderation"

log = logging.getLogger(__name__)


class Moderation:
    """The service. Build, `start`, `watch`, `drain`, `stop`.

    Args:
        kafka, settings: where and how.
        metrics: counts verdicts, tells the age of the last commit.
        clock: stamps the records.
    """

    routes: Sequence[web.AbstractRouteDef] = ()

    def __init__(
        self, kafka: KafkaSettings, settings: ModerationSettings, metrics: Metrics, clock: Clock = SYSTEM
    ) -> None:
        self._clock = clock
        self._kafka = kafka
        self._settings = settings
        self._verdicts = metrics.counter("parley_safety_verdicts_total")
        self.policies: Final = PolicyFollower(kafka, ROLE)
        self._appender = Appender(kafka, ROLE)
        self._patient = PatientAppender(self._appender)
        self._inbox: asyncio.Queue[Any] = asyncio.Queue(maxsize=settings.batch)
        self._runner = FaustRunner(self._app)
        self._commit_age = CommitAge(metrics, GROUP, self._runner, kafka.topic_prefix)
        self._work: asyncio.Task[None] | None = None

    def _app(self, datadir: Path) -> App:
        settings = self._settings
        app = make_app(
            self._kafka,
            GROUP,
            commit_interval_s=settings.commit_interval_s,
            session_timeout_s=settings.session_timeout_s,
            buffered=settings.batch,
            datadir=datadir,
        )
        requests = app.topic(self._kafka.named(topics.REQUESTS), key_type=bytes, value_type=bytes)

        # One at a time: with more, Faust's commit loses what is under way.
        @app.agent(requests, concurrency=1, name=ROLE)  # type: ignore[untyped-decorator]
        async def take_in(stream: Any) -> None:
            async for event in stream.noack().events():
                try:
                    await self._inbox.put(event)
                except Exception as error:  # noqa: BLE001 - Faust would go on behind an event that was lost here
                    end_process(error)

        return app

    async def start(self) -> None:
        """Policies are read, the group is joined. Nothing is judged before the policies are known."""
        await self.policies.start()
        self._work = asyncio.create_task(self._judge_for_ever(), name="judge")
        self._work.add_done_callback(_ended)
        await self._runner.start()
        self._commit_age.start()

    async def watch(self) -> None:
        """Raise when the service can't go on."""
        await self._runner.watch()

    async def drain(self) -> None:
        """Take nothing new, finish and commit what was taken, leave the group."""
        await self._runner.stop()

    async def stop(self) -> None:
        """Let go of everything; what isn't finished is processed again by the next owner."""
        await self._commit_age.stop()
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait({self._work})
        await self._runner.stop(is_abandoning=True)
        await self.policies.stop()
        await self._appender.stop()

    def readiness(self) -> Readiness:
        """Ready once policies are read; degraded while Kafka takes or gives nothing, or a policy is broken."""
        degraded = [f"policy {name} is broken: its last good version is in force" for name in self.policies.broken]
        if self._patient.is_waiting:
            degraded.append("Kafka takes no records")
        if not self._runner.is_running:
            degraded.append("Kafka gives no records")
        if not self.policies.is_live:
            degraded.append("policies are not followed")
        return Readiness(ok=True, degraded=tuple(degraded))

    async def _judge_for_ever(self) -> None:
        while True:
            batch = [await self._inbox.get()]
            while len(batch) < self._settings.batch and not self._inbox.empty():
                batch.append(self._inbox.get_nowait())
            await self._process(batch)

    async def _process(self, batch: Sequence[Any]) -> None:
        at = instants.from_ms(self._clock.wall_ms())
        policies = self.policies.current
        judged = [judgement(event.value, self._source(event), policies, at) for event in batch]
        sources = {id(output): event for event, each in zip(batch, judged, strict=True) for output in each.outputs}
        refused = await self._patient.append_all([output for each in judged for output in each.outputs])
        await self._patient.append_all([self._refused(output, sources[id(output)], at) for output in refused])
        for event in batch:
            event.app.finish(event)
        self._count(judged)

    def _refused(self, output: Output, event: Any, at: str) -> Output:
        what = f"{output.record.type} is larger than a record may be"
        log.error("%s: dead-lettered", what, extra={"turn": output.record.turn})
        return dead_letter(event.value, self._source(event), at, error=what)

    def _source(self, event: Any) -> Source:
        message = event.message
        return Source(message.topic.removeprefix(self._kafka.topic_prefix), message.partition, message.offset)

    def _count(self, judged: Sequence[Judgement]) -> None:
        for verdict in (verdict for each in judged for verdict in each.verdicts):
            self._verdicts.labels(verdict.stage.value, verdict.action.value, verdict.rule or "none").inc()


def _ended(work: "asyncio.Task[None]") -> None:
    if not work.cancelled() and (error := work.exception()) is not None:
        end_process(error)
