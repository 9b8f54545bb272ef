"""The gateway as a process: everything built here, by hand, and run until SIGTERM."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import web

from infra.runtime.band_settings import BandSettings
from infra.runtime.cassandra import Store
from infra.runtime.cassandra_settings import CassandraSettings
from infra.runtime.clock import SYSTEM, Clock
from infra.runtime.internal_settings import InternalSettings
from infra.runtime.kafka import Appender
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.kafka_topics import TopicAdmin
from infra.runtime.metrics import Metrics
from infra.runtime.service import Readiness, ServiceSettings, listen, serve
from infra.runtime.settings import SettingsSource
from infra.runtime.turn_store import TurnStore
from infra.runtime.watching import first_to_fail
from producers.directory.following import Directory
from producers.ingress.application import application
from producers.ingress.callers import Callers
from producers.ingress.chat import ChatCompletions
from producers.ingress.chat_page import ChatPage
from producers.ingress.conversations import Conversations
from producers.ingress.documents import Documents
from producers.ingress.handed import Handed
from producers.ingress.items import Items
from producers.ingress.models import Models
from producers.ingress.relaying import Relays
from producers.ingress.responses import Responses
from producers.ingress.server import Runner
from producers.ingress.tickets import Tickets
from producers.publishing.acceptance import Acceptance
from producers.publishing.births import Births
from producers.publishing.kafka_outgoing import KafkaOutgoingLog, KafkaOwnTopics
from producers.publishing.kafka_spares import KafkaSpares
from producers.publishing.layouts import Layout
from producers.publishing.spare_maker import Making, SpareMaker
from producers.relay.delivery_client import DeliveryClient
from producers.relay.turn_reader import TurnReader
from producers.settings import GatewaySettings
from schemas.errors import DependencyError

ROLE: Final = "gateway"
# What is being answered when the drain is over gets this long to be told so.
_LEAVE_S: Final = 2.0
# Turns end by their deadline, visibly; a minute covers the way from there to here.
_ANSWER_MARGIN_S: Final = 60.0
# A log that isn't there is soon known not to be: a retired or deleted conversation's own topic.
_LOG_PATIENCE_S: Final = 5.0
_AGAIN_S: Final = 0.5

log = logging.getLogger(__name__)


class Gateway:
    """The service: the public port, the routes for delivery, and what they stand on."""

    def __init__(
        self,
        settings: GatewaySettings,
        internal: InternalSettings,
        kafka: KafkaSettings,
        cassandra: CassandraSettings,
        metrics: Metrics,
        *,
        drain_s: float,
        bands: Mapping[str, BandSettings] | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._settings = settings
        self._bands = bands or {}
        self._drain_s = drain_s
        self._appender = Appender(kafka, ROLE)
        self._admin = TopicAdmin(kafka, ROLE)
        self._store = Store(cassandra)
        self._log_reader = LogReader(kafka, ROLE, patience_s=_LOG_PATIENCE_S)
        self._directory = Directory(kafka)
        self._feed = DeliveryClient(settings.deliveries, internal.token, lanes=kafka.lanes)
        layout, own = Layout(settings.layout), KafkaOwnTopics(self._admin)
        target = 0 if layout is Layout.LANES else settings.spare_topics
        self._spares = KafkaSpares(kafka, self._appender, clock)
        # Half of what lies ready: enough for the few ms that taking more lasts, and little to lose by a kill.
        self._births = Births(layout, own, self._spares, clock, most=-(-target // 2))
        making = Making(
            target=target,
            most=None if layout is Layout.DEDICATED else settings.max_conversation_topics,
            per_s=settings.spares_per_s,
        )
        self._maker = SpareMaker(self._spares, own, self._directory, clock, making)
        reader = TurnReader(TurnStore(self._store), self._log_reader, clock, lanes=kafka.lanes)
        acceptance = Acceptance(
            self._directory,
            self._births,
            KafkaOutgoingLog(self._appender, ack_s=settings.ack_s),
            reader,
            clock,
            deadline_s=self._deadline_s,
            lanes=kafka.lanes,
        )
        self._relays = Relays(
            self._feed,
            acceptance,
            follow_s=settings.follow_s,
            abandon_s=settings.abandon_s,
            wait_s=settings.wait_s,
        )
        self._handed = Handed(acceptance, clock, internal.token)
        metrics.gauge("parley_spare_topics").set_function(lambda: self._births.spares)
        self._runner = Runner(
            application(
                self._public(acceptance, reader, internal, clock),
                self.readiness,
                clock,
                metrics,
                is_draining=lambda: self._relays.is_draining,
            ),
            # A client that goes away ends its handler, which decides what becomes of the turn.
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=_LEAVE_S,
        )
        self._port = 0
        self._starting: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The public port that was taken."""
        return self._port

    @property
    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """What delivery hands over, on the metrics port."""
        return self._handed.routes

    async def start(self) -> None:
        """Listen at once; be ready when the directory has been read."""
        self._feed.start()
        await self._store.start()
        self._starting = asyncio.create_task(self._begin(), name="gateway start")
        await self._runner.setup()
        self._port = await listen(self._runner, self._settings.host, self._settings.port, is_shared=True)
        log.info("listening on %s:%d", self._settings.host, self._port)
        await self._starting

    async def watch(self) -> None:
        """Wait for ever; raises what a task of ours died of."""
        await first_to_fail(self._births.failed(), self._maker.failed())

    async def drain(self) -> None:
        """Accept nothing more and finish what is being answered; what takes too long is told to come back."""
        self._relays.is_draining = True
        for site in tuple(self._runner.sites):
            await site.stop()
        try:
            async with asyncio.timeout(max(0.0, self._drain_s - _LEAVE_S)):
                await self._relays.drained()
        except TimeoutError:
            await self._feed.stop()
            await self._relays.drained()

    async def stop(self) -> None:
        """Let go of everything."""
        self._relays.is_draining = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait({self._starting})
        await self._feed.stop()
        await self._runner.cleanup()
        await self._maker.stop()
        await self._births.stop()
        await self._spares.stop()
        await asyncio.gather(
            self._directory.stop(),
            self._appender.stop(),
            self._admin.stop(),
            self._log_reader.stop(),
            self._store.stop(),
        )

    def readiness(self) -> Readiness:
        """Ready once the directory was read; an outage that all gateways share only degrades."""
        if self._relays.is_draining:
            return Readiness(ok=False, degraded=("draining",))
        away = (
            (not self._directory.is_live, "kafka"),
            (not self._store.is_connected, "cassandra"),
            (not self._feed.is_connected, "delivery"),
        )
        return Readiness(ok=self._directory.has_started, degraded=tuple(name for is_away, name in away if is_away))

    def _deadline_s(self, tier: str) -> float:
        """What a turn of the tier has when it names no deadline."""
        band = self._bands.get(tier)
        return self._settings.deadline_s if band is None or band.deadline_s is None else band.deadline_s

    async def _begin(self) -> None:
        await self._directory.start()
        while True:
            try:
                await self._appender.start()
            except DependencyError as error:
                log.warning("nothing can be accepted yet: %s", error)
                await asyncio.sleep(_AGAIN_S)
            else:
                break
        self._births.start()
        self._maker.start()

    def _public(
        self, acceptance: Acceptance, reader: TurnReader, internal: InternalSettings, clock: Clock
    ) -> list[web.RouteDef]:
        """The routes of the public port."""
        who = Callers(self._directory)
        longest_s = max(self._settings.deadline_s, *(band.deadline_s or 0.0 for band in self._bands.values()), 0.0)
        answer_s = longest_s + _ANSWER_MARGIN_S
        tickets = Tickets(
            who,
            acceptance,
            clock,
            secret=internal.token,
            ticket_s=self._settings.ticket_s,
            stream_url=self._settings.stream_url,
            stream_port=self._settings.stream_port,
            node=self._settings.deliveries[0],
        )
        resources = (
            Models(who, self._directory),
            ChatCompletions(who, acceptance, self._relays, answer_s=answer_s),
            Responses(who, acceptance, self._directory, reader, self._relays, answer_s=answer_s),
            Conversations(who, acceptance, self._directory, reader, Items(reader)),
            tickets,
            Documents(tickets.stream_url),
            ChatPage(tickets.stream_url),
        )
        return [route for resource in resources for route in resource.routes]


async def run(source: SettingsSource) -> None:
    """Run the gateway until SIGTERM. Raises SettingsError."""
    service = source.read(ServiceSettings, "service")
    metrics = Metrics(ROLE)
    gateway = Gateway(
        source.read(GatewaySettings, "gateway"),
        source.read(InternalSettings, "internal"),
        source.read(KafkaSettings, "kafka"),
        source.read(CassandraSettings, "cassandra"),
        metrics,
        drain_s=service.drain_s,
        bands=source.read_table(BandSettings, "band"),
    )
    with contextlib.suppress(asyncio.CancelledError):
        await serve(
            gateway,
            role=ROLE,
            host=service.host,
            metrics_port=service.metrics_port,
            drain_s=service.drain_s,
            metrics=metrics,
        )
