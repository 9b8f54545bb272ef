"""A client of `parley.v1+json`: one WebSocket, any number of conversations, resumed after every cut.

For programs outside: it knows `schemas` and `websockets` alone. How to use it: docs/streaming.md.
"""

import asyncio
import contextlib
import itertools
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Self, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from delivery.client import returning
from delivery.client.calls import Calls
from delivery.client.reading import Reading, Refused
from delivery.client.thread import Fate
from schemas import codec, frames
from schemas.errors import CallerError, ContractError, DependencyError
from schemas.frames import SUBPROTOCOL, Accepted, Event, Pong, Stopping, Subscribed

# The server speaks at least every 20 s: after twice that without a word the connection is dead.
SILENCE_S: Final = 40.0
ANSWER_S: Final = 30.0
_OPEN_S: Final = 10.0
_CLOSE_S: Final = 1.0
# What delivery itself answers to a foreign origin and at a wrong path: neither gets better by asking again.
_WRONG_DOOR: Final = frozenset({403, 404})

# Gives the JSON of `POST /v1/tickets`, called before each connection since a ticket is used once. DependencyError,
# OSError and TimeoutError are tried again; any other error ends the client and is raised to all who wait.
TicketSource = Callable[[], Awaitable[Mapping[str, Any]]]

log = logging.getLogger(__name__)


class ParleyClient:
    """Stays connected, and resumes every reading, until it is closed: use it in `async with`.

    Args:
        url, key: of delivery, `ws://.../v1/stream`, and an API key. ticket: in place of both.
        silence_s: without a word from the server before the connection counts as dead.
        answer_s: until a call that has no answer raises NotAnswered, connected or not.
    """

    def __init__(
        self,
        url: str = "",
        *,
        key: str = "",
        ticket: TicketSource | None = None,
        silence_s: float = SILENCE_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        if (ticket is None) != bool(url and key):
            raise CallerError("give either `url` and `key`, or `ticket`")
        self._url, self._key, self._ticket = url, key, ticket
        self._silence_s = silence_s
        self._refs = (f"r{number}" for number in itertools.count(1))
        self._readings: dict[str, Reading] = {}
        self._calls = Calls(self._say, answer_s)
        self._outbox: asyncio.Queue[object] | None = None
        self._attempt = 0
        self._failure: Exception | None = None
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run(), name="parley client")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect; readings and calls that wait end by Refused. Idempotent."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.wait({running})
        self._fail(Refused("unavailable", "the client was closed"))

    @property
    def is_connected(self) -> bool:
        """True while a server answers."""
        return self._outbox is not None

    def read(self, conversation: str, after: str | None = None) -> Reading:
        """Read a conversation from behind a position; None: its history first. A second reading replaces the first."""
        self._check()
        self.leave(conversation)
        reading = self._readings[conversation] = Reading(conversation, after, self._ask)
        self._ask(reading)
        return reading

    def leave(self, conversation: str) -> None:
        """Read it no more. Idempotent."""
        reading = self._readings.pop(conversation, None)
        if reading is not None:
            reading.fail(Refused("unavailable", "the conversation is no longer read here"))
            self._say(frames.Unsubscribe(conversation=conversation))

    async def send(
        self,
        text: str,
        *,
        conversation: str | None = None,
        parent: str | None = "latest",
        model: str | None = None,
        options: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Accepted:
        """Say something; returns once it is durable. Said again after a cut it is the same turn, by its key.

        Args:
            conversation: None = a new one. parent: the turn that it follows, None = the conversation's first.
            idempotency_key: give one of your own to be able to repeat the call after NotAnswered.

        Raises:
            Refused: by the server. NotAnswered: after `answer_s`.
        """
        frame = frames.Send(
            ref=next(self._refs), text=text, conversation=conversation, parent=parent, model=model, options=options,
            idempotency_key=idempotency_key or uuid.uuid4().hex,
        )  # fmt: skip
        return codec.convert(await self._ask_for(frame, is_repeatable=True), Accepted)

    async def stop(self, *, turn: str | None = None, conversation: str | None = None) -> Stopping:
        """End a turn, or whichever is active in the conversation. Raises as `send`.

        After a cut only the stop of a turn is said again: the conversation may be at its next turn by then.
        """
        frame = frames.Stop(ref=next(self._refs), turn=turn, conversation=conversation)
        return codec.convert(await self._ask_for(frame, is_repeatable=turn is not None), Stopping)

    async def ping(self) -> Pong:
        """The server's clock. Raises as `send`."""
        return codec.convert(await self._ask_for(frames.Ping(ref=next(self._refs)), is_repeatable=False), Pong)

    # --- inside -------------------------------------------------------------------------------------------------------

    async def _ask_for(self, frame: Any, *, is_repeatable: bool) -> Mapping[str, Any]:
        self._check()
        return await self._calls.ask(frame, is_repeatable=is_repeatable)

    async def _run(self) -> None:
        try:
            while True:
                code, reason = await self._connection()
                self._disconnected()
                chance = random.random()  # noqa: S311 - jitter, no secret
                pause_s = returning.pause_s(code, reason, self._attempt, chance)
                if pause_s is None:
                    raise Refused(returning.refusal(code), reason or f"the server closed with {code}")
                log.info("connection lost (%d %s): coming back in %.2f s", code, reason, pause_s)
                self._attempt += 1
                await asyncio.sleep(pause_s)
        except Exception as error:  # noqa: BLE001 - a ticket source is the caller's code: its errors are told to who waits
            self._fail(error)

    async def _connection(self) -> tuple[int, str]:
        """One connection from its beginning to its end; the close code and reason."""
        url = ""
        try:
            url, headers = await self._door()
            async with connect(
                url,
                additional_headers=headers,
                subprotocols=[cast("Subprotocol", SUBPROTOCOL)],
                compression=None,
                max_size=None,
                open_timeout=_OPEN_S,
                close_timeout=_CLOSE_S,
                ping_interval=None,  # silence tells, as in a browser
            ) as socket:
                await self._talk(socket)
                return socket.close_code or returning.LOST, socket.close_reason or ""
        except InvalidStatus as error:
            if error.response.status_code in _WRONG_DOOR:
                raise Refused("forbidden", f"HTTP {error.response.status_code} at {url.partition('?')[0]}") from error
            return returning.LOST, str(error)
        except (OSError, TimeoutError, InvalidHandshake, DependencyError, ContractError) as error:
            return returning.LOST, str(error) or type(error).__name__

    async def _door(self) -> tuple[str, dict[str, str]]:
        if self._ticket is None:
            return self._url, {"Authorization": f"Bearer {self._key}"}
        async with asyncio.timeout(_OPEN_S):
            given = await self._ticket()
        url = str(given["url"])
        return f"{url}{'&' if '?' in url else '?'}ticket={given['ticket']}", {}

    async def _talk(self, socket: ClientConnection) -> None:
        outbox = self._outbox = asyncio.Queue()
        for reading in self._readings.values():
            self._ask(reading)
        self._calls.say_all()
        writing = asyncio.create_task(_write(socket, outbox))
        try:
            while True:
                async with asyncio.timeout(self._silence_s):
                    frame = codec.parse(await socket.recv())
                self._attempt = 0  # not before: refusals come after the upgrade
                self._take(frame)
        except ConnectionClosed:
            pass  # its code says what to do
        finally:
            writing.cancel()

    def _disconnected(self) -> None:
        self._outbox = None
        for reading in self._readings.values():
            reading.is_joined = False
        self._calls.lost()

    def _take(self, frame: dict[str, Any]) -> None:
        reading = self._readings.get(frame.get("conversation", ""))
        match frame["type"]:
            case "subscribed" if reading is not None and frame["ref"] == reading.ref:
                reading.begin(codec.convert(frame, Subscribed))
            # Until it is answered, what comes is still of the subscription before.
            case "event" if reading is not None and reading.is_joined:
                self._take_event(reading, codec.convert(frame, Event))
            case "accepted" | "stopping" | "pong":
                self._calls.answer(frame["ref"], frame)
            case "error":
                self._refused(frame)
            case _:
                pass  # a type of a later release, or too late

    def _take_event(self, reading: Reading, frame: Event) -> None:
        if reading.take(frame) is Fate.GAP:
            log.warning("events of %s are missing: reading it from its history", reading.conversation)
            self._ask(reading)
        elif reading.is_paused:
            reading.is_joined = False
            self._say(frames.Unsubscribe(conversation=reading.conversation))

    def _refused(self, frame: Mapping[str, Any]) -> None:
        refused = Refused(frame["code"], frame["message"], retriable=frame["retriable"])
        self._calls.answer(frame.get("ref"), refused)
        for reading in [each for each in self._readings.values() if each.ref == frame.get("ref")]:
            reading.is_joined = False
            if refused.retriable:
                reading.refused += 1
                pause_s = returning.pause_s(returning.LOST, "", reading.refused, random.random())  # noqa: S311 - jitter
                asyncio.get_running_loop().call_later(pause_s or 0, self._ask, reading)
            else:
                del self._readings[reading.conversation]
                reading.fail(refused)

    def _ask(self, reading: Reading) -> None:
        if self._readings.get(reading.conversation) is reading and not reading.is_paused:
            reading.is_joined, reading.ref = False, next(self._refs)
            self._say(frames.Subscribe(conversation=reading.conversation, ref=reading.ref, after=reading.position))

    def _say(self, frame: object) -> bool:
        """Send a frame if there is a connection. A new one says by itself what is still to be said."""
        if self._outbox is None:
            return False
        self._outbox.put_nowait(frame)
        return True

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, failure: Exception) -> None:
        self._failure = self._failure or failure
        self._outbox = None
        for reading in self._readings.values():
            reading.fail(self._failure)
        self._calls.fail(self._failure)
        self._readings.clear()


async def _write(socket: ClientConnection, outbox: "asyncio.Queue[object]") -> None:
    # Of a lost connection the listening side learns as well.
    with contextlib.suppress(ConnectionClosed):
        while True:
            await socket.send(codec.encode(await outbox.get()).decode())
