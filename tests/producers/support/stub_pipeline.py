"""What stands behind a gateway, in small: a gate and worker that answer by script, and a delivery node.

Real Kafka between them and the gateway; only what they decide is made up. The text of a turn is its script:
`echo: W` answers W word by word; `refuse`, `fail`, `busy`, `expire` end so; `withhold: W` releases W first;
`slow` says two words and then nothing until it is stopped; `wait` stays queued until then; `lost` is never seen.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from infra.runtime.kafka import Appender
from infra.runtime.kafka_follow import Follower
from infra.runtime.kafka_log import Entry, LogReader
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.turn_store import TurnStore
from schemas import codec, projection, topics
from schemas.errors import ErrorCode
from schemas.fold import TurnFold
from schemas.frames import SUBPROTOCOL
from schemas.ids import ConversationId, TurnId
from schemas.records import ConversationDeleted, Record, TurnEnded, TurnRequested, TurnStopRequested
from schemas.turns import Failure, LogAddress, Reason
from tests.producers.support import records


class StubPipeline:
    """Answers every TurnRequested on `chat.requests`."""

    def __init__(self, settings: KafkaSettings, store: TurnStore | None) -> None:
        self._settings = settings
        self._appender = Appender(settings, "stub")
        self._reader = LogReader(settings, "stub")
        self._store = store
        self._requests = Follower(settings, topics.REQUESTS, self._on_request)
        self._control = Follower(settings, topics.CONTROL, self._on_control)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stops: dict[str, asyncio.Event] = {}
        self._seen: set[str] = set()
        self._order = 0
        self._places: dict[ConversationId, int] = {}
        self.requests: list[TurnRequested] = []
        self.others: list[Record] = []
        self.stopped: list[TurnId] = []
        self.stop_seen = asyncio.Event()
        self._heard = asyncio.Event()

    async def start(self) -> None:
        await self._appender.start()
        await self._requests.start()
        await self._control.start()

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await self._requests.stop()
        await self._control.stop()
        await self._appender.stop()
        await self._reader.stop()

    async def others_of(self, conversation: str, count: int) -> list[Record]:
        """The first records of the conversation that are no turns."""
        async with asyncio.timeout(10):
            while True:
                found = [each for each in self.others if each.conversation == conversation]
                if len(found) >= count:
                    return found
                self._heard.clear()
                await self._heard.wait()

    def _on_request(self, _partition: int, entry: Entry) -> None:
        record = codec.decode(entry.value or b"")
        if not isinstance(record, TurnRequested):
            self.others.append(record)
            self._heard.set()
            return
        self.requests.append(record)
        if record.id in self._seen or record.request.text == "lost":
            return
        self._seen.add(record.id)
        self._stops.setdefault(str(record.turn), asyncio.Event())
        task = asyncio.create_task(self._answer(record))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _on_control(self, _partition: int, entry: Entry) -> None:
        record = codec.decode(entry.value or b"")
        if isinstance(record, TurnStopRequested) and record.turn is not None:
            self.stopped.append(record.turn)
            self._stops.setdefault(str(record.turn), asyncio.Event()).set()
            self.stop_seen.set()

    async def _answer(self, requested: TurnRequested) -> None:
        log, text = requested.request.log, requested.request.text
        conversation = requested.conversation or ConversationId("")
        n = self._places[conversation] = self._places.get(conversation, 0) + 1
        self._order += 1
        start = await self._append(log, records.accepted(requested, order=self._order, n=n))
        end = await self._script(log, requested, text, n)
        if self._store is not None and requested.request.stored:
            await self._save(log, requested, start, end)

    async def _script(self, log: LogAddress, requested: TurnRequested, text: str, n: int) -> int:
        if text == "refuse":
            sentence = "We don't talk about this."
            return await self._append(
                log, records.ended(requested, 0, Reason.REFUSED, attempt=0, n=n, refusal=sentence)
            )
        if text == "busy":
            failure = Failure(ErrorCode.CONVERSATION_BUSY, "the conversation has an active turn", True)
            return await self._append(log, records.ended(requested, 0, Reason.FAILED, attempt=0, n=n, error=failure))
        if text == "expire":
            failure = Failure(ErrorCode.DEADLINE, "its deadline has passed", True)
            return await self._append(log, records.ended(requested, 0, Reason.EXPIRED, attempt=0, n=n, error=failure))
        await self._append(log, records.queued(requested))
        if text == "wait":
            await self._stops[str(requested.turn)].wait()
            return await self._append(log, records.ended(requested, 0, Reason.CANCELLED, attempt=0, n=n))
        await self._append(log, records.started(requested))
        if text == "fail":
            failure = Failure(ErrorCode.ENGINE_FAILED, "the engine has failed", True)
            return await self._append(log, records.ended(requested, 0, Reason.FAILED, n=n, error=failure))
        words = _words(text)
        for seq, word in enumerate(words):
            await self._append(log, records.delta(requested, seq, word))
        if text == "slow":
            await self._stops[str(requested.turn)].wait()
            return await self._append(log, records.ended(requested, len(words), Reason.CANCELLED, n=n))
        if text.startswith("withhold:"):
            sentence = "The rest is not for you."
            end = records.ended(requested, len(words), Reason.WITHHELD, n=n, refusal=sentence)
        elif text.startswith("length:"):
            end = records.ended(requested, len(words), Reason.LENGTH, n=n)
        else:
            end = records.ended(requested, len(words), n=n)
        return await self._append(log, end)

    async def _append(self, log: LogAddress, record: Record) -> int:
        return (await self._appender.append(log.topic, record, partition=log.partition)).offset

    async def _save(self, log: LogAddress, requested: TurnRequested, start: int, end: int) -> None:
        fold = TurnFold(requested.turn or TurnId(""))
        async for entry in self._reader.read(log.topic, log.partition, start, end + 1):
            fold.take(codec.decode(entry.value or b""), entry.offset)
        assert self._store is not None
        await self._store.save_turn(projection.completed(fold, log))


def _words(text: str) -> list[str]:
    script, _, said = text.partition(": ")
    if script not in ("echo", "withhold", "length"):
        said = "Hello there"
    words = said.split(" ")
    return [word if place == 0 else f" {word}" for place, word in enumerate(words)]


@dataclass
class _Subscription:
    socket: ServerConnection
    turn: TurnId
    log: LogAddress
    fold: TurnFold
    follower: Follower | None = None


@dataclass
class StubDelivery:
    """One delivery node, as far as a gateway uses one.

    Args:
        merges: send the deltas that are there at subscribing as one.
    """

    settings: KafkaSettings
    token: str
    merges: bool = False
    subscribed: list[dict[str, Any]] = field(default_factory=list)
    _server: Server | None = None
    _subscriptions: list[_Subscription] = field(default_factory=list)

    async def start(self, port: int = 0) -> None:
        self._server = await serve(
            self._serve, "127.0.0.1", port, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None
        )

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        for each in self._subscriptions:
            if each.follower is not None:
                await each.follower.stop()

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        if socket.request.headers.get("Authorization") != f"Bearer {self.token}":
            await socket.close(4501, "not authenticated")
            return
        async for raw in socket:
            frame = codec.parse(raw)
            if frame["type"] == "subscribe":
                self.subscribed.append(frame)
                await self._subscribe(socket, frame)
            elif frame["type"] == "unsubscribe":
                reply = {"type": "unsubscribed", "ref": frame["ref"], "conversation": frame["conversation"]}
                await socket.send(codec.encode(reply).decode())

    async def _subscribe(self, socket: ServerConnection, frame: dict[str, Any]) -> None:
        log = LogAddress(frame["log"]["topic"], frame["log"]["partition"])
        turn = TurnId(frame["turn"])
        reply = {"type": "subscribed", "ref": frame["ref"], "conversation": frame["conversation"], "recovered": True}
        await socket.send(codec.encode({**reply, "position": "p", "history": None}).decode())
        subscription = _Subscription(socket, turn, log, TurnFold(turn))
        self._subscriptions.append(subscription)
        events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        def on_entry(partition: int, entry: Entry) -> None:
            record = codec.decode(entry.value or b"")
            if partition != log.partition or record.turn != turn:
                return
            if record.type == "turn.accepted" or subscription.fold.take(record, entry.offset):
                event = codec.parse(codec.encode(record))
                event.pop("token_ids", None)
                events.put_nowait(event)

        subscription.follower = Follower(self.settings, log.topic, on_entry)
        await subscription.follower.start()
        forwarding = asyncio.create_task(self._forward(socket, events))
        self._keep = forwarding

    async def _forward(self, socket: ServerConnection, events: "asyncio.Queue[dict[str, Any]]") -> None:
        held: list[dict[str, Any]] = []
        while True:
            held.append(await events.get())
            while not events.empty():
                held.append(events.get_nowait())
            for event in merged(held) if self.merges else held:
                frame = {
                    "type": "event", "conversation": event["conversation"], "position": f"p{event['id']}",
                    "event": event,
                }  # fmt: skip
                await socket.send(codec.encode(frame).decode())
            held.clear()


def merged(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events with neighbouring deltas as one."""
    result: list[dict[str, Any]] = []
    for event in events:
        before = result[-1] if result else None
        if before is not None and before["type"] == event["type"] == "turn.delta":
            result[-1] = {
                **before,
                "text": before["text"] + event["text"],
                "tokens": before["tokens"] + event["tokens"],
                "last_seq": event["seq"],
            }
        else:
            result.append(event)
    return result


__all__ = ["ConversationDeleted", "StubDelivery", "StubPipeline", "TurnEnded", "merged"]
