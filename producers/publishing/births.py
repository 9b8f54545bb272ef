"""Where a new conversation's log is: its own topic, made before anybody asked for it, or a lane.

A spare is a topic that exists, with the name of a conversation to come; whoever takes it is that conversation. Nobody
waits for a topic to be made, but for the layout `dedicated`, which promises one.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from infra.runtime.clock import Clock
from producers.publishing.layouts import Layout, missing_spares
from producers.publishing.port import OwnTopics
from schemas import ids
from schemas.errors import DependencyError
from schemas.ids import ConversationId

_ENTROPY_BYTES: Final = 10
_AGAIN_S: Final = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Birth:
    """A conversation that is about to exist. `retired`: it has no own topic and rides a lane from the start."""

    conversation: ConversationId
    retired: bool


class Births:
    """Hands out ids for new conversations, and keeps spares at hand.

    Args:
        spares: how many to keep. most: own topics that may live at once.
        live: how many conversations have their own topic now.
    """

    def __init__(
        self,
        layout: Layout,
        maker: OwnTopics,
        clock: Clock,
        *,
        spares: int,
        most: int,
        live: Callable[[], int],
    ) -> None:
        self._layout = layout
        self._maker = maker
        self._clock = clock
        self._target = spares
        self._most = most
        self._live = live
        self._spares: list[ConversationId] = []
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def spares(self) -> int:
        """How many are at hand."""
        return len(self._spares)

    def start(self) -> None:
        """Make spares in the background."""
        self._wanted.set()
        self._task = asyncio.create_task(self._refill(), name="spare topics")

    async def stop(self) -> None:
        """Make no more, and delete those that nobody took. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        unused, self._spares = self._spares, []
        try:
            await self._maker.unmake(unused)
        except DependencyError as error:
            log.warning("%d spare topics are left behind: %s", len(unused), error)

    async def birth(self, own_hex: str | None) -> Birth:
        """A conversation that nobody has.

        Args:
            own_hex: its 32 hex digits when an idempotency key gives them: no spare bears such a name.

        Raises:
            KafkaUnavailable: its topic can't be made, in the layout `dedicated`.
        """
        if self._layout is Layout.LANES:
            return Birth(ids.conversation_id(own_hex or self._fresh_hex()), retired=True)
        if own_hex is None and self._spares:
            self._wanted.set()
            return Birth(self._spares.pop(), retired=False)
        self._wanted.set()
        conversation = ids.conversation_id(own_hex or self._fresh_hex())
        if self._layout is Layout.DEDICATED:
            await self._maker.make([conversation])
            return Birth(conversation, retired=False)
        return Birth(conversation, retired=True)

    def give_back(self, birth: Birth) -> None:
        """The conversation was not made after all, and nobody was told of it."""
        if not birth.retired:
            self._spares.append(birth.conversation)

    def _fresh_hex(self) -> str:
        return ids.uuid7_hex(self._clock.wall_ms(), self._clock.entropy(_ENTROPY_BYTES))

    async def _refill(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            count = missing_spares(self._layout, len(self._spares), self._target, self._live(), self._most)
            if count == 0:
                continue
            made = [ids.conversation_id(self._fresh_hex()) for _ in range(count)]
            try:
                await self._maker.make(made)
            except DependencyError as error:
                log.warning("no spare topics can be made: %s", error)
                self._wanted.set()
                await asyncio.sleep(_AGAIN_S)
            else:
                self._spares += made
