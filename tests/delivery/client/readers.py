"""Our two clients behind one face, so that one suite holds both: in this process, and in a real browser's page."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest
from playwright.async_api import Page

from delivery.client import ParleyClient, Reading, Refused
from schemas import codec
from schemas.frames import Event
from tests.support.browser import launched, page_on_loopback
from tests.support.waiting import until

Ticket = dict[str, str]
TicketMaker = Callable[[], Awaitable[Ticket]]
CLIENTS = ("python", pytest.param("javascript", marks=pytest.mark.browser))
LIMIT_S = 30.0
SNAPSHOT = {"type": "snapshot"}


class Reader(Protocol):
    """A client that reads one conversation."""

    async def read(self, conversation: str, after: str | None = None) -> None:
        """Begin to read."""

    async def heard(self) -> list[dict[str, Any]]:
        """What was handed on so far, in order: events, and SNAPSHOT where reading began anew."""

    async def shown(self) -> dict[str, str]:
        """Each turn's answer as it stands."""

    async def send(self, text: str) -> dict[str, Any]:
        """Say something in the conversation; what came of it: `accepted`, or `error` with its code."""

    async def stop(self, **target: str) -> dict[str, Any]:
        """Stop a turn or a conversation; what came of it."""

    async def refusal(self) -> str | None:
        """The code of the error that it stays away for."""

    async def close(self) -> None:
        """The end."""


async def heard_until(reader: Reader, is_last: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """What it has handed on once it has handed on the last."""

    async def ask() -> list[dict[str, Any]]:
        heard = await reader.heard()
        return heard if heard and is_last(heard[-1]) else []

    return await until(ask, limit_s=LIMIT_S)


class PythonReader:
    """`delivery.client`."""

    def __init__(self, ticket: TicketMaker, silence_s: float) -> None:
        self._client = ParleyClient(ticket=ticket, silence_s=silence_s)
        self._reading: Reading | None = None
        self._heard: list[dict[str, Any]] = []
        self._refusal: str | None = None
        self._taking: asyncio.Task[None] | None = None

    async def read(self, conversation: str, after: str | None = None) -> None:
        if self._taking is None:
            await self._client.__aenter__()
        self._reading = self._client.read(conversation, after)
        self._taking = asyncio.create_task(self._take(self._reading))

    async def _take(self, reading: Reading) -> None:
        try:
            async for frame in reading:
                self._heard.append(dict(frame.event) if isinstance(frame, Event) else SNAPSHOT)
        except Refused as refused:
            self._refusal = refused.told

    async def heard(self) -> list[dict[str, Any]]:
        return list(self._heard)

    async def shown(self) -> dict[str, str]:
        assert self._reading is not None
        return {turn.id: turn.answer for turn in self._reading.thread.turns.values()}

    async def send(self, text: str) -> dict[str, Any]:
        assert self._reading is not None
        return await _outcome(self._client.send(text, conversation=self._reading.conversation))

    async def stop(self, **target: str) -> dict[str, Any]:
        return await _outcome(self._client.stop(**target))

    async def refusal(self) -> str | None:
        return self._refusal

    async def close(self) -> None:
        await self._client.close()
        if self._taking is not None:
            await self._taking


async def _outcome(call: Awaitable[Any]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = codec.parse(codec.encode(await call))
        return answer
    except Refused as refused:
        return {"type": "error", "code": refused.told, "retriable": refused.retriable}


class BrowserReader:
    """`producers/page/client.js` in a page."""

    def __init__(self, page: Page, ticket: TicketMaker, silence_s: float) -> None:
        self._page = page
        self._ticket = ticket
        self._silence_ms = int(silence_s * 1000)
        self._is_made = False

    async def read(self, conversation: str, after: str | None = None) -> None:
        if not self._is_made:
            self._is_made = True
            await self._page.expose_function("ticket", self._ticket)
            await self._page.evaluate(_MAKE, self._silence_ms)
        await self._page.evaluate(_READ, [conversation, after])

    async def heard(self) -> list[dict[str, Any]]:
        heard: list[dict[str, Any]] = await self._page.evaluate("heard")
        return heard

    async def shown(self) -> dict[str, str]:
        script = "Object.fromEntries([...thread.turns.values()].map((turn) => [turn.id, turn.answer]))"
        shown: dict[str, str] = await self._page.evaluate(script)
        return shown

    async def send(self, text: str) -> dict[str, Any]:
        script = "(text) => client.send({ conversation: reading, text }).catch(told)"
        outcome: dict[str, Any] = await self._page.evaluate(script, text)
        return outcome

    async def stop(self, **target: str) -> dict[str, Any]:
        outcome: dict[str, Any] = await self._page.evaluate("(target) => client.stop(target).catch(told)", target)
        return outcome

    async def refusal(self) -> str | None:
        code: str | None = await self._page.evaluate("client.failure?.code ?? refusal")
        return code

    async def close(self) -> None:
        await self._page.evaluate("client.close()")


_MAKE = """async (silenceMs) => {
  const { ParleyClient } = await import("/client.js");
  const told = ({ code, retriable }) => ({ type: "error", code, retriable });
  const client = new ParleyClient({ ticket: () => window.ticket(), silenceMs });
  Object.assign(window, { client, told, heard: [], thread: null, refusal: null });
}"""
_READ = """([conversation, after]) => {
  window.reading = conversation;
  client.subscribe(conversation, {
    after,
    onSnapshot: (thread) => { window.thread = thread; heard.push({ type: "snapshot" }); },
    onEvent: (event, thread) => { window.thread = thread; heard.push(event); },
    onError: ({ code }) => { window.refusal = code; },
  });
}"""


@asynccontextmanager
async def opened(client: str, ticket: TicketMaker, url: str, silence_s: float) -> AsyncIterator[Reader]:
    """One of CLIENTS, closed behind the block.

    Args:
        url: where tickets lead: a browser's page may speak to no other place.
    """
    if client == "python":
        reader = PythonReader(ticket, silence_s)
        yield reader
        await reader.close()
        return
    async with launched() as browser:
        page = await browser.new_page()
        async with page_on_loopback(page, url):
            in_page = BrowserReader(page, ticket, silence_s)
            yield in_page
            await in_page.close()
