"""Brings back what the gate has forgotten: reads the store outside of any agent and appends ContextLoaded.

While the store is away the conversations that wait for it wait, and no others (architecture, "The gate").
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final, Protocol

from infra.runtime.kafka import Appender
from infra.runtime.turn_store import StoredConversation
from schemas import codec, instants, topics
from schemas.errors import DependencyError
from schemas.ids import ConversationId, TurnId
from schemas.records import ContextLoaded, TurnCompleted
from schemas.turns import ContextTurn
from stream_processors.enrichment.context import context_turn

log = logging.getLogger(__name__)

_MAX_RECORD_BYTES: Final = 700_000
_FIRST_BACKOFF_S: Final = 0.2
_MAX_BACKOFF_S: Final = 5.0
_PAGE: Final = 50
# Reads of the store at one time: more of them only queue inside its driver.
_AT_ONCE: Final = 16


class Past(Protocol):
    """What the loader asks of the store. Any method may raise DependencyError."""

    async def conversation(self, conversation: ConversationId) -> StoredConversation | None:
        """Beside its turns; None: never heard of."""
        ...

    async def newest(
        self, conversation: ConversationId, limit: int, *, before_n: int | None = None
    ) -> tuple[TurnCompleted, ...]:
        """Its last turns, newest first."""
        ...

    async def turn(self, turn: TurnId) -> TurnCompleted | None:
        """One turn."""
        ...


class Loader:
    """Loads each wanted conversation once at a time, retrying for as long as it takes.

    Args:
        limit: most turns of one load.
    """

    def __init__(self, past: Past, appender: Appender, now_ms: Callable[[], int], limit: int) -> None:
        self._past = past
        self._appender = appender
        self._now_ms = now_ms
        self._limit = limit
        self._tasks: dict[tuple[ConversationId, TurnId | None], asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self.is_away = False

    def want(self, conversation: ConversationId, tenant: str | None, parent: TurnId | None) -> None:
        """Load it, unless that is under way.

        Args:
            parent: the chain from this turn back is wanted; None: the newest turns.
        """
        key = (conversation, parent)
        if key not in self._tasks:
            task = asyncio.create_task(self._load(conversation, tenant, parent), name=f"load {conversation}")
            self._tasks[key] = task
            task.add_done_callback(lambda _done: self._tasks.pop(key, None))

    async def stop(self) -> None:
        """Load no more; the gate asks again."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _load(self, conversation: ConversationId, tenant: str | None, parent: TurnId | None) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while True:
            try:
                async with self._slots:
                    record = await self._read(conversation, tenant, parent)
                await self._appender.append(topics.CONTROL, record)
            except DependencyError as error:
                if not self.is_away:
                    log.warning("the past of a conversation can't be loaded: %s; trying again", error)
                self.is_away = True
                await asyncio.sleep(backoff_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
                backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)
            else:
                self.is_away = False
                return

    async def _read(self, conversation: ConversationId, tenant: str | None, parent: TurnId | None) -> ContextLoaded:
        stored = await self._past.conversation(conversation)
        if stored is None or stored.deleted:
            turns: list[ContextTurn] = []
        elif parent is None:
            turns = await self._newest(conversation)
        else:
            turns = await self._chain(conversation, parent)
        now_ms = self._now_ms()
        return ContextLoaded(
            id=f"{conversation}.loaded.{now_ms}",
            at=instants.from_ms(now_ms),
            tenant=tenant,
            conversation=conversation,
            turn=parent,
            found=stored is not None,
            deleted=stored is not None and stored.deleted,
            retired=stored is not None and stored.retired,
            next_n=1 if stored is None else stored.next_n,
            epoch=0 if stored is None else stored.epoch,
            turns=tuple(reversed(turns)),
        )

    async def _newest(self, conversation: ConversationId) -> list[ContextTurn]:
        found: list[ContextTurn] = []
        room = _MAX_RECORD_BYTES
        before_n: int | None = None
        while len(found) < self._limit:
            page = await self._past.newest(conversation, min(_PAGE, self._limit - len(found)), before_n=before_n)
            for turn in page:
                room = _take(turn, found, room)
                if room < 0:
                    return found
            if len(page) < _PAGE:
                return found
            before_n = page[-1].n
        return found

    async def _chain(self, conversation: ConversationId, parent: TurnId) -> list[ContextTurn]:
        found: list[ContextTurn] = []
        room = _MAX_RECORD_BYTES
        wanted: TurnId | None = parent
        while wanted is not None and len(found) < self._limit:
            turn = await self._past.turn(wanted)
            if turn is None or turn.conversation != conversation:
                break
            room = _take(turn, found, room)
            if room < 0:
                break
            wanted = turn.parent
        return found


def _take(turn: TurnCompleted, found: list[ContextTurn], room: int) -> int:
    """Put the turn to the others if it fits; what is left, below 0 when it didn't. The first one always fits."""
    entry = context_turn(turn)
    left = room - len(codec.encode(entry))
    if left >= 0 or not found:
        found.append(entry)
    return left
