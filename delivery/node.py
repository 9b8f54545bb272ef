"""A delivery node's life: connects in the background, follows keys and conversations, serves, drains, stops."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from aiohttp import web

from delivery.access.keyring import Keyring
from delivery.directory.directory import Directory
from delivery.lanes import Lanes
from delivery.relay.http_relay import HttpRelay
from delivery.streams import Streams
from delivery.tailer.kafka_tail import KafkaTail
from delivery.transport.server import StreamServer
from infra.runtime.cassandra import Store
from infra.runtime.kafka_follow import Follower
from infra.runtime.kafka_log import Entry, LogReader
from infra.runtime.service import Readiness
from infra.runtime.watching import first_to_fail
from schemas import codec
from schemas.errors import ContractError, DependencyError
from schemas.ids import ConversationId
from schemas.records import ConversationChanged, KeyChanged

_BACKOFF_S: Final = 0.5

log = logging.getLogger(__name__)


class Node:
    """The parts of a node, wired by `main`; a Service of `infra.runtime.service`."""

    def __init__(
        self,
        *,
        address: tuple[str, int],
        server: StreamServer,
        streams: Streams,
        tail: KafkaTail,
        lanes: Lanes,
        readers: Sequence[LogReader],
        followers: Sequence[Follower],
        store: Store,
        relay: HttpRelay,
    ) -> None:
        self._address = address
        self._server = server
        self._streams = streams
        self._tail = tail
        self._lanes = lanes
        self._readers = readers
        self._followers = followers
        self._store = store
        self._relay = relay
        self._connecting: asyncio.Task[None] | None = None
        self._is_connected = False
        self.has_store = True

    @property
    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Nothing but health and metrics."""
        return ()

    @property
    def port(self) -> int:
        """The stream's port."""
        return self._server.port

    async def start(self) -> None:
        """Listen; Kafka and Cassandra are met in the background, and until then clients are told to come back."""
        await self._store.start()
        await self._relay.start()
        self._connecting = asyncio.create_task(self._connect(), name="connect to Kafka")
        await self._server.start(*self._address)
        log.info("streaming at ws://%s:%d/v1/stream", self._address[0], self._server.port)

    async def connected(self) -> None:
        """Wait until keys and conversations are known and the lanes are tailed."""
        if self._connecting is not None:
            await asyncio.shield(self._connecting)

    async def watch(self) -> None:
        """Wait for ever; raises what a task of ours died of."""
        await first_to_fail(self._server.failed(), self._go_on(), self._lanes.read_back())

    async def drain(self) -> None:
        """Send every client to another node."""
        await self._server.drain()

    async def stop(self) -> None:
        """Let go of everything."""
        if self._connecting is not None:
            self._connecting.cancel()
        await self._server.stop()
        await self._tail.stop()
        await asyncio.gather(
            *(follower.stop() for follower in self._followers),
            *(reader.stop() for reader in self._readers),
            self._relay.stop_asking(),
            self._store.stop(),
        )

    def readiness(self) -> Readiness:
        """Ready once Kafka was met; what is away later only degrades: it is away for every node."""
        away = []
        if not self._is_connected or not self._tail.is_live or not all(each.is_live for each in self._followers):
            away.append("kafka")
        if not self._store.is_connected or not self.has_store:
            away.append("cassandra: histories may be incomplete")
        return Readiness(ok=self._is_connected, degraded=tuple(away))

    async def _go_on(self) -> None:
        await self.connected()
        await self._tail.broken()

    async def _connect(self) -> None:
        """Until it works: whoever comes meanwhile is told to come back."""
        starting = [each.start for each in self._followers]
        await self._until_done(self._tail.start)
        while starting:
            await self._until_done(starting.pop())
        await self._until_done(self._streams.open_lanes)
        self._is_connected = True

    async def _until_done(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
                return
            except DependencyError as error:
                log.warning("not connected yet: %s", error)
                await asyncio.sleep(_BACKOFF_S)


class KeyFeed:
    """Keeps the keyring as `identity.keys` says, and ends the sockets of revoked keys."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self.server: StreamServer | None = None

    def take(self, _partition: int, entry: Entry) -> None:
        """One record of the topic."""
        if entry.value is None:
            key_id = (entry.key or b"").decode()
            self._keyring.drop(key_id)
            self._end(key_id)
            return
        record = _decoded(entry.value)
        if isinstance(record, KeyChanged):
            self._keyring.put(record)
            if record.revoked:
                self._end(record.key_id)

    def _end(self, key_id: str) -> None:
        if self.server is not None:
            self.server.revoked(key_id)


class DirectoryFeed:
    """Keeps the directory as `chat.conversations` says, and ends the readers of deleted conversations."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.streams: Streams | None = None

    def take(self, _partition: int, entry: Entry) -> None:
        """One record of the topic."""
        if entry.value is None:
            self._directory.drop((entry.key or b"").decode())
            return
        record = _decoded(entry.value)
        if isinstance(record, ConversationChanged):
            self._directory.put(record)
            if record.deleted and self.streams is not None and record.conversation is not None:
                self.streams.gone(ConversationId(record.conversation))


def _decoded(value: bytes) -> object:
    try:
        return codec.decode(value)
    except ContractError as error:
        log.warning("a record can't be read and is left out: %s", error)
        return None
