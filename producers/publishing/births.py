"""Where a new conversation's log is: its own topic, made before anybody asked for it, or a lane.

A spare is a topic that exists, with the name of a conversation to come; whoever takes it is that conversation. Nobody
waits for a topic to be made, but for the layout `dedicated`, which promises one.
"""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from infra.runtime.clock import Clock
from infra.runtime.watching import died
from producers.publishing.layouts import Layout, is_fresh
from producers.publishing.port import OwnTopics, SharedSpares
from schemas import ids
from schemas.errors import DependencyError, KafkaUnavailable
from schemas.ids import ConversationId

_ENTROPY_BYTES: Final = 10
_AGAIN_S: Final = 1.0
# Spares live for half an hour; a minute of that is no loss.
_LOOK_OVER_S: Final = 60.0
# What is being taken is in the hand after one commit; where Kafka is away nobody waits for it at a stop.
_TAKEN_S: Final = 2.0
# A topic is made within 0.3 s; a client that was promised one waits no longer than for the acceptance of a turn.
_MAKE_S: Final = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Birth:
    """A conversation that is about to exist. `retired`: it has no own topic and rides a lane from the start."""

    conversation: ConversationId
    retired: bool


def new_conversation(own_hex: str | None, clock: Clock) -> ConversationId:
    """A conversation's id: of the 32 hex digits that an idempotency key gives it, or a new UUIDv7."""
    return ids.conversation_id(own_hex or ids.uuid7_hex(clock.wall_ms(), clock.entropy(_ENTROPY_BYTES)))


class Births:
    """Hands out ids for new conversations, and keeps spares in the hand so that no birth waits for a round trip.

    Args:
        own: makes topics in place, for the layout `dedicated`.
        shared: where spares come from. most: how many to keep in the hand; 0 = none are taken.
    """

    def __init__(self, layout: Layout, own: OwnTopics, shared: SharedSpares, clock: Clock, *, most: int) -> None:
        self._layout = layout
        self._own = own
        self._shared = shared
        self._clock = clock
        self._most = most
        self._spares: list[ConversationId] = []
        self._wanted = asyncio.Event()
        self._is_leaving = False
        self._task: asyncio.Task[None] | None = None

    @property
    def spares(self) -> int:
        """How many are in the hand."""
        return len(self._spares)

    def start(self) -> None:
        """Take spares in the background."""
        if self._most:
            self._wanted.set()
            self._task = asyncio.create_task(self._refill(), name="spare topics")

    async def stop(self) -> None:
        """Take no more, and give those that nobody used to the other gateways. Idempotent."""
        self._is_leaving = True
        self._wanted.set()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait({task}, timeout=_TAKEN_S)
            task.cancel()
            await asyncio.wait({task})
        unused, self._spares = self._spares, []
        try:
            await self._shared.offer(dict.fromkeys(self._fresh(unused), None))
        except DependencyError as error:
            log.warning("%d spare topics are left behind: %s", len(unused), error)

    async def failed(self) -> None:
        """Wait for ever; raises what taking spares died of."""
        await died(self._task)

    async def birth(self, own_hex: str | None) -> Birth:
        """A conversation that nobody has.

        Args:
            own_hex: its 32 hex digits when an idempotency key gives them: no spare bears such a name.

        Raises:
            KafkaUnavailable: its topic can't be made, in the layout `dedicated`.
        """
        if self._layout is Layout.LANES:
            return Birth(new_conversation(own_hex, self._clock), retired=True)
        self._wanted.set()
        if own_hex is None:
            self._spares = self._fresh(self._spares)
            if self._spares:
                # The oldest first, before it is too old.
                return Birth(self._spares.pop(0), retired=False)
        conversation = new_conversation(own_hex, self._clock)
        if self._layout is Layout.DEDICATED:
            try:
                async with asyncio.timeout(_MAKE_S):
                    await self._own.make([conversation])
            except TimeoutError as error:
                raise KafkaUnavailable(f"no topic was made within {_MAKE_S:g} s") from error
            return Birth(conversation, retired=False)
        return Birth(conversation, retired=True)

    def give_back(self, birth: Birth) -> None:
        """The conversation was not made after all, and nobody was told of it."""
        if not birth.retired:
            self._spares.insert(0, birth.conversation)

    def _fresh(self, spares: Iterable[ConversationId]) -> list[ConversationId]:
        now_ms = self._clock.wall_ms()
        return [each for each in spares if is_fresh(each, now_ms)]

    async def _refill(self) -> None:
        while not self._is_leaving:
            self._spares = self._fresh(self._spares)
            missing = self._most - len(self._spares)
            if missing <= 0:
                self._wanted.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_OVER_S):
                        await self._wanted.wait()
                continue
            try:
                taken = await self._shared.take(missing)
            except DependencyError as error:
                log.warning("no spare topics can be taken: %s", error)
                await asyncio.sleep(_AGAIN_S)
            else:
                # Looked up now, not before the wait: births have taken from the hand meanwhile.
                self._spares += taken
