"""A WebSocket client of the contract (section 6), on `websockets` alone: reads a conversation, comes back after a cut.

It keeps the position of the last event and nothing else over a cut, and counts what a reader must never see: an event
again, a gap, a second end, a history that contradicts what was shown.
"""

import asyncio
import json
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.typing import Subprotocol

_PROTOCOL: Final = Subprotocol("parley.v1+json")
_STAY_AWAY: Final = 4500
_ANSWER_S: Final = 10.0
_LONGEST_BACKOFF_S: Final = 2.0
# The node says `alive` after 20 s of silence.
_SILENCE_S: Final = 45.0

Lost = (ConnectionClosed, InvalidHandshake, InvalidMessage, OSError, TimeoutError, EOFError)


@dataclass
class Shown:
    """One turn on this reader's screen."""

    text: str = ""
    seq: int = 0
    reason: str | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Counts:
    """What happened to all readers together."""

    cuts: int = 0
    lost: int = 0
    recovered: int = 0
    refreshed: int = 0
    gaps: int = 0
    repeats: int = 0
    contradictions: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


class Reader:
    """One reader of one conversation.

    Args:
        counts: shared by all readers of a run.
    """

    def __init__(self, url: str, key: str, conversation: str, counts: Counts, chance: random.Random) -> None:
        self._url = url
        self._key = key
        self._conversation = conversation
        self._counts = counts
        self._chance = chance
        self._socket: ClientConnection | None = None
        self._subscribed = asyncio.Event()
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._position: str | None = None
        self._expected: dict[str, Callable[[str], None]] = {}
        self.shown: dict[str, Shown] = {}

    async def start(self) -> None:
        """Begin to read; returns when the conversation is subscribed to."""
        self._task = asyncio.create_task(self._run())
        await self._subscribed.wait()

    async def stop(self) -> None:
        """Read no more; raises what broke the reader itself."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def cut(self) -> None:
        """The connection breaks without a word."""
        if self._socket is not None:
            self._counts.cuts += 1
            self._socket.transport.abort()

    def of(self, turn: str) -> Shown:
        """The turn on this screen."""
        return self.shown.setdefault(turn, Shown())

    def expect(self, client_key: str, told: Callable[[str], None]) -> None:
        """Call `told` with the turn's id once its `turn.accepted` is read."""
        self._expected[client_key] = told

    async def ask(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Send a frame until it is answered; the frame must bear being sent twice."""
        tries = 0
        while True:
            tries += 1
            ref = f"{frame['type']}-{self._chance.getrandbits(48):x}"
            answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
            self._answers[ref] = answer
            try:
                await self._subscribed.wait()
                if self._socket is not None:
                    await self._socket.send(json.dumps({**frame, "ref": ref}))
                    async with asyncio.timeout(_ANSWER_S):
                        found = await answer
                    if found["type"] != "error" or not found["retriable"]:
                        return found
            except Lost:
                pass
            finally:
                self._answers.pop(ref, None)
            await self._pause(tries)

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                headers = {"Authorization": f"Bearer {self._key}"}
                async with connect(
                    self._url, additional_headers=headers, subprotocols=[_PROTOCOL], compression=None, open_timeout=5
                ) as socket:
                    self._socket = socket
                    await self._read(socket)
            except Lost as error:
                failures = 0 if self._subscribed.is_set() else failures + 1
                self._note(error)
            finally:
                self._socket = None
                self._subscribed.clear()
            await self._pause(failures)

    def _note(self, error: BaseException) -> None:
        self._counts.lost += 1
        code = error.rcvd.code if isinstance(error, ConnectionClosed) and error.rcvd is not None else None
        if code is not None and code >= _STAY_AWAY:
            self._counts.refusals.append(f"{self._conversation}: closed with {code}")

    async def _read(self, socket: ClientConnection) -> None:
        frame = {"type": "subscribe", "ref": "s", "conversation": self._conversation, "after": self._position}
        await socket.send(json.dumps(frame))
        while True:
            # Not `wait_for`: in Python 3.11 it loses a cancellation that comes together with a frame.
            async with asyncio.timeout(_SILENCE_S):
                received = await socket.recv()
            self._take(json.loads(received))

    async def _pause(self, failures: int) -> None:
        limit_s = min(_LONGEST_BACKOFF_S, 0.05 * 2 ** min(failures, 8))
        await asyncio.sleep(self._chance.uniform(0, limit_s))

    # --- the reader's rule --------------------------------------------------------------------------------------------

    def _take(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "subscribed":
                self._on_subscribed(frame)
            case "event":
                self._position = frame["position"]
                self._on_event(frame["event"])
            case "error" if frame.get("ref") == "s":
                if not frame["retriable"]:
                    self._counts.refusals.append(f"{self._conversation}: {frame['code']}: {frame['message']}")
                raise OSError(frame["message"])
            case _:
                answer = self._answers.get(str(frame.get("ref")))
                if answer is not None and not answer.done():
                    answer.set_result(frame)

    def _on_subscribed(self, frame: dict[str, Any]) -> None:
        was_reading = self._position is not None
        self._position = frame["position"]
        if frame["recovered"]:
            self._counts.recovered += 1
        elif frame.get("history") is not None:
            self._counts.refreshed += was_reading
            self._show(frame["history"])
        self._subscribed.set()

    def _show(self, history: dict[str, Any]) -> None:
        for message in history["messages"]:
            if message["role"] != "assistant":
                continue
            turn = self.of(message["turn"])
            self._agree(message["turn"], turn, message["text"], is_whole=True)
            turn.text, turn.reason = message["text"], message["reason"]
            turn.ended.set()
        for each in history["open_turns"]:
            turn = self.of(each["turn"])
            self._agree(each["turn"], turn, each["answer"], is_whole=False)
            turn.text, turn.seq = each["answer"], each["seq"]

    def _agree(self, name: str, turn: Shown, text: str, *, is_whole: bool) -> None:
        """What was shown stays shown: a history may only go on behind it."""
        is_same = text == turn.text if turn.ended.is_set() else text.startswith(turn.text)
        if not is_same or (turn.ended.is_set() and not is_whole):
            self._counts.contradictions.append(f"{name}: {turn.text[-20:]!r} was shown, then {text[-20:]!r}")

    def _on_event(self, event: dict[str, Any]) -> None:
        if event["type"] == "turn.accepted" and event["client_key"] in self._expected:
            self._expected.pop(event["client_key"])(event["turn"])
        if event["type"] not in {"turn.delta", "turn.ended"}:
            return
        turn = self.of(event["turn"])
        if turn.ended.is_set():
            self._counts.repeats += 1
            return
        self._counts.gaps += event["seq"] > turn.seq
        self._counts.repeats += event["seq"] < turn.seq
        if event["type"] == "turn.ended":
            turn.reason = event["reason"]
            turn.ended.set()
            return
        turn.text += event["text"]
        turn.seq = event.get("last_seq", event["seq"]) + 1
