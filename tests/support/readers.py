"""Two readers of one turn, as the contract asks clients to be: cut off, they come back and go on where they were.

Each notes when it got which words, and checks that nothing comes twice or is left out.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.support.contract import conversation_of
from tests.support.pipeline import Pipeline

# A client's own back-off, with full jitter.
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_OPEN_S: Final = 5.0
_OK: Final = 200
_COME_BACK: Final = frozenset({429, 500, 502, 503, 504})
# Behind the five events that open every stream: the delta with seq k is 5 + k.
_FIRST_DELTA: Final = 5


class Wrong(AssertionError):
    """The reader was shown something that no reader may be shown."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Words that came together. `at`: seconds of time.monotonic()."""

    at: float
    text: str


@dataclass(slots=True)
class Seen:
    """What one reader has.

    Args:
        pieces: in order; one that made good for a lost connection may hold many words.
        claims: attempt and when its claim was seen; sockets alone are told.
        cuts: when the connection was lost.
        answers: the statuses of requests that were told to come back.
    """

    pieces: list[Piece] = field(default_factory=list)
    claims: list[tuple[int, float]] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    reason: str | None = None

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(piece.text for piece in self.pieces)

    def words_by(self, at: float) -> int:
        """How many words had come by then."""
        return len("".join(piece.text for piece in self.pieces if piece.at <= at).split())

    def longest_gap(self, behind: float, until: float) -> float:
        """Seconds of the longest silence that a piece ended after the one instant, before the other."""
        ends = [piece.at for piece in self.pieces]
        gaps = [after - before for before, after in itertools.pairwise(ends) if behind < after <= until]
        return max(gaps, default=0.0)

    def usual_gap(self, until: float) -> float:
        """Seconds: the median of the silences before that instant."""
        ends = [piece.at for piece in self.pieces if piece.at <= until]
        gaps = sorted(after - before for before, after in itertools.pairwise(ends))
        return gaps[len(gaps) // 2] if gaps else 0.0


class SocketReader:
    """Reads a turn over a WebSocket of its own.

    Args:
        turn: from `POST /v1/responses`.
    """

    def __init__(self, pipeline: Pipeline, conversation: str, turn: str) -> None:
        self.seen = Seen()
        self._url = pipeline.stream_url
        self._headers = {"Authorization": f"Bearer {pipeline.key}"}
        self._conversation = conversation
        self._turn = turn
        self._position: str | None = None
        self._next_seq = 0

    async def run(self) -> Seen:
        """Return when the turn has ended. Raises Wrong."""
        pause_s = _FIRST_PAUSE_S
        while self.seen.reason is None:
            try:
                async with connect(self._url, additional_headers=self._headers, open_timeout=_OPEN_S) as socket:
                    await self._read(socket)
                    pause_s = _FIRST_PAUSE_S
            except (OSError, TimeoutError, ConnectionClosed, InvalidHandshake):
                self.seen.cuts.append(time.monotonic())
            if self.seen.reason is None:
                await asyncio.sleep(random.uniform(0, pause_s))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return self.seen

    async def _read(self, socket: ClientConnection) -> None:
        ask = {"type": "subscribe", "ref": 1, "conversation": self._conversation, "after": self._position}
        await socket.send(json.dumps(ask))
        while self.seen.reason is None:
            frame = json.loads(await socket.recv())
            match frame["type"]:
                case "subscribed":
                    self._begin(frame)
                case "event" if frame["event"].get("turn") == self._turn:
                    self._take(frame["event"])
                    self._position = frame["position"]
                case "error":
                    # What can't be told at present is asked again; the server keeps the connection.
                    await asyncio.sleep(_FIRST_PAUSE_S)
                    await socket.send(json.dumps(ask))

    def _begin(self, frame: Mapping[str, Any]) -> None:
        self._position = frame["position"] if self._position is None or not frame["recovered"] else self._position
        if frame["recovered"]:
            return
        past = frame["history"] or {"open_turns": (), "messages": ()}
        for turn in past["open_turns"]:
            if turn["turn"] == self._turn:
                self._catch_up(turn["answer"], turn["seq"])
        for message in past["messages"]:
            if message["turn"] == self._turn and message["role"] == "assistant":
                self._catch_up(message["text"], self._next_seq)
                self.seen.reason = message["reason"]

    def _catch_up(self, whole: str, next_seq: int) -> None:
        if not whole.startswith(self.seen.text):
            raise Wrong(f"the history says {whole[:80]!r}, the socket said {self.seen.text[:80]!r}")
        if len(whole) > len(self.seen.text):
            self.seen.pieces.append(Piece(time.monotonic(), whole[len(self.seen.text) :]))
        self._next_seq = next_seq

    def _take(self, event: Mapping[str, Any]) -> None:
        match event["type"]:
            case "turn.started":
                self.seen.claims.append((event["attempt"], time.monotonic()))
            case "turn.delta":
                if event["seq"] != self._next_seq:
                    raise Wrong(f"delta {event['seq']} came where {self._next_seq} was due")
                self._next_seq = event.get("last_seq", event["seq"]) + 1
                self.seen.pieces.append(Piece(time.monotonic(), event["text"]))
            case "turn.ended":
                self.seen.reason = event["reason"]


class StreamReader:
    """Makes a turn by `POST /v1/responses` and reads its stream; goes on at any gateway with `starting_after`.

    Each request has a connection of its own, so that a lost gateway's isn't used again.
    """

    def __init__(self, pipeline: Pipeline, text: str, **body: Any) -> None:
        self.seen = Seen()
        self.turn = ""
        self.conversation = ""
        self.known = asyncio.Event()
        self._url = f"{pipeline.base_url}/v1/responses"
        self._headers = {"Authorization": f"Bearer {pipeline.key}"}
        self._body = {"model": "simulated", "input": text, "stream": True, **body}
        self._last = -1

    async def run(self) -> Seen:
        """Return when the turn has ended. Raises Wrong."""
        pause_s = _FIRST_PAUSE_S
        while self.seen.reason is None:
            try:
                if await self._ask():
                    pause_s = _FIRST_PAUSE_S
            except (aiohttp.ClientError, OSError, TimeoutError):
                self.seen.cuts.append(time.monotonic())
            if self.seen.reason is None:
                await asyncio.sleep(random.uniform(0, pause_s))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return self.seen

    async def _ask(self) -> bool:
        """Read as far as the connection holds; True if anything was told."""
        connector = aiohttp.TCPConnector(force_close=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_OPEN_S)
        async with aiohttp.ClientSession(headers=self._headers, connector=connector, timeout=timeout) as http:
            if not self.turn:
                asking = http.post(self._url, json=self._body)
            else:
                after = {"starting_after": str(self._last)} if self._last >= 0 else {}
                asking = http.get(f"{self._url}/{self.turn}", params={"stream": "true", **after})
            async with asking as answer:
                if answer.status in _COME_BACK:
                    self.seen.answers.append(answer.status)
                    return False
                if answer.status != _OK:
                    raise Wrong(f"{answer.status}: {await answer.text()}")
                async for line in answer.content:
                    if line.startswith(b"data: {"):
                        self._take(json.loads(line[6:]))
                return True

    def _take(self, event: Mapping[str, Any]) -> None:
        if "error" in event and "type" not in event:
            return  # the gateway is going away: another one goes on
        if "response" in event:
            self.turn = event["response"]["id"]
            self.conversation = conversation_of(self.turn)
            self.known.set()
        number = event["sequence_number"]
        if number <= self._last:
            raise Wrong(f"event {number} came behind {self._last}")
        if event["type"] == "response.output_text.delta":
            # A merged delta bears the number of its last part, so numbers may leap, but never back.
            self.seen.pieces.append(Piece(time.monotonic(), event["delta"]))
        elif event["type"] in {"response.completed", "response.incomplete", "response.failed"}:
            self.seen.reason = event["response"]["status"]
        self._last = number
