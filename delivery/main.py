"""The delivery service: conversation logs to WebSockets. Builds the node and runs it."""

import logging
from typing import Final

from delivery.access.admission import Admission
from delivery.access.keyring import Keyring
from delivery.directory.directory import Directory
from delivery.directory.refreshing import Refreshing
from delivery.history.past import Past
from delivery.hub.hub import Hub, Words
from delivery.hub.lane_index import IndexBounds
from delivery.lanes import Lanes, Remembered
from delivery.node import DirectoryFeed, KeyFeed, Node
from delivery.protocol import events
from delivery.protocol.dialogue import Bounds, Dialogue
from delivery.protocol.events import LogEvent
from delivery.protocol.positions import Seal
from delivery.relay.http_relay import HttpRelay
from delivery.settings import DeliverySettings
from delivery.streams import Streams
from delivery.tailer.kafka_tail import KafkaTail
from delivery.tailer.settings import TailTuning
from delivery.transport.connection import Limits
from delivery.transport.server import StreamServer
from infra.runtime.cassandra import CassandraSettings, Store
from infra.runtime.clock import SYSTEM
from infra.runtime.internal_settings import InternalSettings
from infra.runtime.kafka_follow import Follower
from infra.runtime.kafka_log import LogReader
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.metrics import Metrics
from infra.runtime.service import ServiceSettings, serve
from infra.runtime.settings import SettingsSource
from infra.runtime.turn_store import TurnStore
from schemas import topics
from schemas.errors import ContractError
from schemas.turns import LogAddress

ROLE: Final = "delivery"
# A new conversation's topic may still be in the making when its first reader comes; waiting longer delays its answer.
_PROBE_S: Final = 0.25

log = logging.getLogger(__name__)


async def run(source: SettingsSource) -> None:
    """Run a delivery node until SIGTERM or SIGINT."""
    service = source.read(ServiceSettings, "service")
    metrics = Metrics(ROLE)
    node = build(
        source.read(DeliverySettings, "delivery"),
        source.read(InternalSettings, "internal"),
        source.read(KafkaSettings, "kafka"),
        source.read(CassandraSettings, "cassandra"),
        metrics,
    )
    await serve(
        node,
        role=ROLE,
        host=service.host,
        metrics_port=service.metrics_port,
        drain_s=service.drain_s,
        metrics=metrics,
    )


def build(
    settings: DeliverySettings,
    internal: InternalSettings,
    kafka: KafkaSettings,
    cassandra: CassandraSettings,
    metrics: Metrics,
) -> Node:
    """Every part of a node, wired; nothing is started."""
    store = Store(cassandra)
    turn_store = TurnStore(store)
    ranges = LogReader(kafka, ROLE)
    probe = LogReader(kafka, f"{ROLE}-probe", patience_s=_PROBE_S)
    backward = LogReader(kafka, f"{ROLE}-lanes")
    lanes = Lanes(backward, _remembered(settings, kafka), SYSTEM.wall_ms)
    keyring, directory = Keyring(), Directory()
    keys, conversations = KeyFeed(keyring), DirectoryFeed(directory)
    key_follower = Follower(kafka, topics.KEYS, keys.take, role=ROLE)
    conversation_follower = Follower(kafka, topics.CONVERSATIONS, conversations.take, role=ROLE)
    seal = Seal(internal.token.encode())
    touched: list[Dialogue] = []

    def on_store(is_there: bool) -> None:  # noqa: FBT001 - a fact, told by its only caller
        node.has_store = is_there

    streams = Streams(
        hub=Hub(Words(read=events.read, position=seal.write, event=LogEvent), _unreadable),
        past=Past(
            ranges,
            turn_store,
            wall_ms=SYSTEM.wall_ms,
            lane_lookback_ms=int(settings.lane_lookback_s * 1000),
            keyed_lookback_ms=int(settings.keyed_lookback_s * 1000),
            on_store=on_store,
        ),
        ranges=ranges,
        probe=probe,
        directory=directory,
        refresh_directory=Refreshing(conversation_follower.refresh),
        seal=seal,
        touched=touched,
        lanes=lanes,
        lane_count=kafka.lanes,
        max_replay=settings.max_replay,
        wall_ms=SYSTEM.wall_ms,
        on_lag_s=metrics.histogram("parley_stream_lag_seconds").observe,
    )
    tail = KafkaTail(kafka, TailTuning(cold_polls=settings.cold_polls), streams.take, streams.lost, role=ROLE)
    streams.tail_with(tail)
    relay = HttpRelay(settings.gateways, internal.token)
    server = StreamServer(
        streams=streams,
        admission=Admission(
            keyring,
            refresh=Refreshing(key_follower.refresh),
            redeem=turn_store.redeem_ticket,
            secret=internal.token,
            socket_s=settings.socket_s,
            wall_ms=SYSTEM.wall_ms,
        ),
        relay=relay,
        bounds=Bounds(outbox_bytes=settings.outbox_bytes, subscriptions=settings.max_subscriptions),
        limits=Limits(frame_bytes=settings.frame_bytes, alive_s=settings.alive_s, ping_s=settings.ping_s),
        allowed_origins=settings.origins,
        max_connections=settings.max_connections,
        max_tenant_connections=settings.max_tenant_connections,
        drain_spread_s=settings.drain_spread_s,
        touched=touched,
        wall_ms=SYSTEM.wall_ms,
    )
    metrics.gauge("parley_stream_connections").set_function(lambda: len(server))
    keys.server, conversations.streams = server, streams
    node = Node(
        address=(settings.host, settings.port),
        server=server,
        streams=streams,
        tail=tail,
        lanes=lanes,
        readers=(ranges, probe, backward),
        followers=(key_follower, conversation_follower),
        store=store,
        relay=relay,
    )
    return node


def _remembered(settings: DeliverySettings, kafka: KafkaSettings) -> Remembered:
    """Each lane's share: conversations are spread over lanes by their ids."""
    tailed = 2 * kafka.lanes  # stored and unstored
    bounds = IndexBounds(
        window_s=settings.lane_lookback_s,
        entries=max(1, settings.lane_index_entries // tailed),
        recent_bytes=settings.lane_recent_bytes // tailed,
    )
    return Remembered(bounds=bounds, rebuild_records=settings.lane_rebuild_records)


def _unreadable(address: LogAddress, offset: int, error: ContractError) -> None:
    place = {"topic": address.topic, "partition": address.partition, "offset": offset}
    log.warning("a record of a conversation can't be read: %s", error, extra=place)
