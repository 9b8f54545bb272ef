"""A client that goes on asking through an outage, and notes what it was told each time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from tests.support.pipeline import Pipeline

_LIMIT: Final = aiohttp.ClientTimeout(total=90)
_OK: Final = 200
REFUSED_CONNECTION: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One request's answer. Instants: seconds of time.monotonic().

    Args:
        status: of HTTP; 0 = the connection was refused or lost.
        retry_after: the header as it came; None = there was none.
        turn: the id that it was accepted under; None = it wasn't.
    """

    asked_at: float
    answered_at: float
    status: int
    retry_after: str | None = None
    turn: str | None = None


@dataclass(slots=True)
class Asker:
    """Asks for a short answer in the background, `every_s`, whatever became of the requests before.

    Args:
        conversation: to go on in; None = each turn begins one of its own.
    """

    pipeline: Pipeline
    every_s: float = 0.5
    conversation: str | None = None
    answers: list[Answer] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator["Asker"]:
        """Ask within the block; behind it every request has its answer. Raises what broke the asking itself."""
        asking = asyncio.create_task(self._go_on())
        try:
            yield self
        finally:
            asking.cancel()
            await asyncio.wait([asking])
            with contextlib.suppress(asyncio.CancelledError):
                asking.result()

    async def ask(self, key: str | None = None) -> Answer:
        """Ask once. A key makes a repeat of it the same turn."""
        body: dict[str, Any] = {"model": "simulated", "input": "tokens: 3", "background": True}
        if self.conversation is not None:
            body["conversation"] = self.conversation
        headers = {"Authorization": f"Bearer {self.pipeline.key}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        asked_at = time.monotonic()
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=_LIMIT) as http,
                http.post(f"{self.pipeline.base_url}/v1/responses", json=body) as got,
            ):
                told = await got.json()
                answer = Answer(
                    asked_at=asked_at,
                    answered_at=time.monotonic(),
                    status=got.status,
                    retry_after=got.headers.get("Retry-After"),
                    turn=told["id"] if got.status == _OK else None,
                )
        except (aiohttp.ClientError, OSError):
            answer = Answer(asked_at=asked_at, answered_at=time.monotonic(), status=REFUSED_CONNECTION)
        self.answers.append(answer)
        return answer

    @property
    def accepted(self) -> list[str]:
        """The turns that were accepted, each once."""
        return list(dict.fromkeys(answer.turn for answer in self.answers if answer.turn is not None))

    async def _go_on(self) -> None:
        asked: list[asyncio.Task[Answer]] = []
        try:
            while True:
                asked.append(asyncio.create_task(self.ask()))
                await asyncio.sleep(self.every_s)
        finally:
            await asyncio.gather(*asked)
