"""The gateway as one more client of delivery: one WebSocket that carries every turn being relayed.

It goes to the next node when one is lost, and asks there for what is behind the last position of each turn.
"""

import asyncio
import contextlib
import itertools
import logging
import random
from collections.abc import Sequence
from typing import Any, Final, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from producers.relay.channel import Channel, ChannelReader
from producers.relay.port import DeliveryUnavailable
from producers.relay.progress import Gapped
from schemas import codec, ids, topics
from schemas.errors import ContractError, ErrorCode, NotFound
from schemas.frames import SUBPROTOCOL, Subscribe, Unsubscribe
from schemas.ids import TurnId
from schemas.turns import LogAddress

_PATH: Final = "/v1/stream"
_OPEN_S: Final = 5.0
# A node that restarts is back in a second; many gateways must not come back in one instant.
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_AGAIN_S: Final = 0.2

log = logging.getLogger(__name__)


class DeliveryClient:
    """Follows turns at whichever delivery node answers.

    Args:
        nodes: base URLs, `http://` or `ws://`; taken in turn, from a random one on.
        token: the secret that services share.
        lanes: partitions of the lane topics: there a turn goes on whose conversation has left its own topic.
    """

    def __init__(self, nodes: Sequence[str], token: str, *, lanes: int) -> None:
        first = random.randrange(len(nodes))  # noqa: S311 - spreads gateways over nodes, no secret
        self._nodes = itertools.cycle([stream_url(node) for node in (*nodes[first:], *nodes[:first])])
        self._token = token
        self._lanes = lanes
        self._channels: dict[TurnId, Channel] = {}
        # Frames leave in the order they were meant: a turn let go and taken up again must not be let go last.
        self._outbox: asyncio.Queue[Subscribe | Unsubscribe] | None = None
        self._task: asyncio.Task[None] | None = None
        self._later: set[asyncio.Task[None]] = set()
        self._closing: DeliveryUnavailable | None = None

    @property
    def is_connected(self) -> bool:
        """True while a node answers."""
        return self._outbox is not None

    def start(self) -> None:
        """Connect in the background, and stay connected."""
        self._task = asyncio.create_task(self._run(), name="delivery client")

    async def stop(self, why: str = "the gateway is going away") -> None:
        """End every reading with DeliveryUnavailable and disconnect. Idempotent."""
        self._closing = DeliveryUnavailable(why)
        for channel in self._channels.values():
            channel.fail(self._closing)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        for later in self._later:
            later.cancel()

    async def follow(self, turn: TurnId, log: LogAddress, *, within_s: float) -> ChannelReader:
        """See `TurnFeed`."""
        if self._closing is not None:
            raise DeliveryUnavailable(str(self._closing))
        channel = self._channels.get(turn)
        if channel is None:
            channel = self._channels[turn] = Channel(turn, log)
            self._subscribe(channel)
        reader = ChannelReader(channel, self._on_close)
        try:
            await asyncio.wait_for(channel.confirmed.wait(), within_s)
            channel.check()
        except TimeoutError:
            reader.close()
            raise DeliveryUnavailable("no delivery node answers") from None
        except BaseException:
            reader.close()
            raise
        return reader

    def _on_close(self, channel: Channel) -> None:
        if channel.followers == 0 and self._channels.get(channel.turn) is channel:
            del self._channels[channel.turn]
            self._send(Unsubscribe(conversation=ids.conversation_of(channel.turn), ref=channel.turn))

    async def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        for url in self._nodes:
            try:
                async with connect(
                    url,
                    additional_headers={"Authorization": f"Bearer {self._token}"},
                    subprotocols=[cast("Subprotocol", SUBPROTOCOL)],
                    compression=None,
                    max_size=None,
                    open_timeout=_OPEN_S,
                    proxy=None,
                ) as socket:
                    pause_s = _FIRST_PAUSE_S
                    await self._read(socket)
            except (OSError, TimeoutError, ConnectionClosed, InvalidHandshake, InvalidURI) as error:
                log.warning("delivery at %s: %s", url, error)
            finally:
                self._outbox = None
            # Full jitter: gateways that lost the same node spread over the pause.
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - no secret
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _read(self, socket: ClientConnection) -> None:
        outbox = self._outbox = asyncio.Queue[Subscribe | Unsubscribe]()
        for channel in self._channels.values():
            self._subscribe(channel)
        writing = asyncio.create_task(_write(socket, outbox))
        try:
            async for frame in socket:
                self._take(codec.parse(frame))
        finally:
            writing.cancel()

    def _take(self, frame: dict[str, Any]) -> None:
        match frame:
            case {"type": "event", "event": {"type": "conversation.moved"}, "ref": str(ref)}:
                self._moved(TurnId(ref))
            case {"type": "event", "event": dict(event), "position": str(position)}:
                channel = self._channels.get(TurnId(str(event.get("turn"))))
                if channel is not None:
                    self._take_event(channel, event, position)
            case {"type": "subscribed", "ref": str(ref)} if TurnId(ref) in self._channels:
                self._channels[TurnId(ref)].confirmed.set()
            case {"type": "error", "ref": str(ref), "message": str(message)} if TurnId(ref) in self._channels:
                log.warning("delivery refused to follow a turn: %s", message, extra={"turn": ref})
                self._refused(self._channels[TurnId(ref)], str(frame.get("code")), message)
            case _:
                pass

    def _take_event(self, channel: Channel, event: dict[str, Any], position: str) -> None:
        try:
            channel.take(event, position)
        except Gapped as gap:
            log.warning("%s; reading the turn again from its beginning", gap, extra={"turn": channel.turn})
            channel.position = None
            self._again(channel)
        except ContractError as error:
            log.warning("an event can't be read: %s", error, extra={"turn": channel.turn})

    def _moved(self, turn: TurnId) -> None:
        """The own topic was closed before the turn began: it is answered in the lane."""
        channel = self._channels.get(turn)
        if channel is not None and topics.is_own_topic(channel.log):
            conversation = ids.conversation_of(turn)
            channel.log = topics.address(conversation, retired=True, stored=True, lanes=self._lanes)
            channel.position = None
            self._subscribe(channel)

    def _refused(self, channel: Channel, code: str, message: str) -> None:
        if code == ErrorCode.NOT_FOUND:
            # It was deleted meanwhile: nobody will read it any more.
            channel.fail(NotFound(message))
        else:
            self._again(channel)

    def _again(self, channel: Channel) -> None:
        async def later() -> None:
            await asyncio.sleep(_AGAIN_S)
            if self._channels.get(channel.turn) is channel:
                self._subscribe(channel)

        task = asyncio.create_task(later())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def _subscribe(self, channel: Channel) -> None:
        self._send(
            Subscribe(
                conversation=ids.conversation_of(channel.turn),
                ref=channel.turn,
                after=channel.position,
                turn=channel.turn,
                log=channel.log,
            )
        )

    def _send(self, frame: Subscribe | Unsubscribe) -> None:
        """Send the frame if there is a connection; a new one subscribes to everything anyway."""
        if self._outbox is not None:
            self._outbox.put_nowait(frame)


async def _write(socket: ClientConnection, outbox: "asyncio.Queue[Subscribe | Unsubscribe]") -> None:
    # Of a lost connection the reading side learns as well, and connects anew.
    with contextlib.suppress(ConnectionClosed):
        while True:
            await socket.send(codec.encode(await outbox.get()).decode())


def stream_url(node: str) -> str:
    """The node's WebSocket URL out of its base URL."""
    base = node.rstrip("/").replace("http://", "ws://", 1).replace("https://", "wss://", 1)
    return base if base.endswith(_PATH) else base + _PATH
