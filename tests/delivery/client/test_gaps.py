"""Both clients against a server that keeps to no promise: what is missing is noticed, and read anew once."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from schemas import codec
from schemas.frames import SUBPROTOCOL, Event, History, Subscribed
from schemas.records import LogRecord
from tests.delivery.client.readers import CLIENTS, SNAPSHOT, Reader, Ticket, heard_until, opened
from tests.delivery.client.streams import history, plain
from tests.support.logs import TURNS, accepted, delta, ended, started
from tests.support.samples import CONVERSATION

TURN = TURNS[0]
LOG: list[LogRecord] = [
    accepted(TURN, 0),
    started(TURN, 1),
    *(delta(TURN, 1, seq) for seq in range(6)),
    ended(TURN, 1, 6),
]
EVENTS = plain(LOG)
LOST = 4  # the event of this place is left out at first


class Script:
    """A server that leaves an event out, and says the rest of it even when it is asked anew."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []  # the `after` of each subscribe

    async def talk(self, socket: ServerConnection) -> None:
        """One connection."""
        async for text in socket:
            frame = json.loads(text)
            if frame["type"] == "subscribe":
                self.asked.append(frame["after"])
                for answer in self.answers(frame["ref"]):
                    await socket.send(codec.encode(answer).decode())

    def answers(self, ref: str) -> list[object]:
        """The first time a stream with a gap; then its remains, the history, and what is behind that."""
        if len(self.asked) == 1:
            return [subscribed(ref, History(messages=(), open_turns=())), *events(0, LOST), *events(LOST + 1, 7)]
        return [*events(6, 8), subscribed(ref, history(LOG[:7])), *events(6, len(LOG))]


def subscribed(ref: str, past: History) -> Subscribed:
    """The answer to a subscribe."""
    return Subscribed(ref=ref, conversation=CONVERSATION, recovered=False, position="begin", history=past)


def events(start: int, stop: int) -> list[Event]:
    """Event frames of a stretch of the log; positions are places."""
    return [Event(conversation=CONVERSATION, position=str(place), event=EVENTS[place]) for place in range(start, stop)]


@asynccontextmanager
async def reading(client: str) -> AsyncIterator[tuple[Script, Reader]]:
    """A client that reads from the script."""
    script = Script()
    async with serve(script.talk, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)]) as server:
        url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/v1/stream"

        async def ticket() -> Ticket:
            return {"ticket": "t", "url": url}

        async with opened(client, ticket, url, 30) as reader:
            await reader.read(CONVERSATION)
            yield script, reader


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_gap_is_read_anew_once(client: str) -> None:
    """Behind a gap nothing is shown; one subscribe asks for the history, which replaces what was shown, and goes on."""
    async with reading(client) as (script, reader):
        heard: list[dict[str, Any]] = await heard_until(reader, lambda last: last["type"] == "turn.ended")
        assert script.asked == [None, None]
        # The history holds the first five pieces; the one that is sent again behind it is dropped.
        assert heard == [SNAPSHOT, *EVENTS[:LOST], SNAPSHOT, *EVENTS[7:]]
        assert await reader.shown() == {TURN: "".join(event["text"] for event in EVENTS[2:8])}
