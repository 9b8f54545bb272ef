"""The one spare maker: whichever gateway owns the first partition of `conversations.spares` makes spares for all.

It alone minds the bound of live topics, counting what the brokers have, and deletes what nobody will use. A maker that
was frozen and wakes makes one batch at most before it finds that another has taken over.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from infra.runtime.clock import Clock
from infra.runtime.watching import died
from producers.publishing.births import new_conversation
from producers.publishing.layouts import BATCH, overdue, to_make
from producers.publishing.port import Names, OwnTopics, SharedSpares
from schemas.errors import DependencyError
from schemas.ids import ConversationId

_AGAIN_S: Final = 1.0
# What was made and could not be offered lies there for hours: so it is 50 topics each five minutes, not each second.
_LONGEST_PAUSE_S: Final = 300.0
# At the bound room comes by a retired conversation, which takes minutes; looking for it lists every topic there is.
_FULL_S: Final = 10.0
# Two small requests each time; at 100 births a second 20 spares are gone meanwhile, of 32 that lie there.
_LOOK_S: Final = 0.2
# What is left over is hours old: minutes don't matter, and each time all topics are listed.
_SWEEP_S: Final = 600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How much is made.

    Args:
        target: spares that shall lie ready for all gateways together; 0 = nothing is made.
        most: own topics that may live at once, spares included; None = no bound.
        per_s: topics made, and topics deleted, a second at most.
    """

    target: int
    most: int | None
    per_s: float


def pause_s(lost: int) -> float:
    """Seconds to wait behind a failure, when so many batches in a row were lost: made, but not offered."""
    return min(_AGAIN_S * 2.0 ** min(lost, 20), _LONGEST_PAUSE_S)


class SpareMaker:
    """Makes spares while this gateway is the one to do it."""

    def __init__(self, shared: SharedSpares, own: OwnTopics, names: Names, clock: Clock, making: Making) -> None:
        self._shared = shared
        self._own = own
        self._names = names
        self._clock = clock
        self._making = making
        self._sweep_at_s = self._room_at_s = 0.0
        self._lost = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Make spares in the background, whenever it is ours to do."""
        if self._making.target:
            self._task = asyncio.create_task(self._run(), name="spare maker")

    async def stop(self) -> None:
        """Make no more. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def failed(self) -> None:
        """Wait for ever; raises what making spares died of."""
        await died(self._task)

    async def refill(self) -> int:
        """Make one batch of what is missing, and return how many that was. Raises KafkaUnavailable."""
        untaken = await self._shared.untaken()
        if not to_make(untaken, self._making.target, None):
            return 0
        room = await self._room()
        counts = to_make(untaken, self._making.target, room)
        places = [partition for partition, count in counts.items() for _ in range(count)]
        # Asking has taken a while, and the group may have moved on.
        if not places or not self._shared.is_makers:
            return 0
        made = {new_conversation(None, self._clock): partition for partition in places}
        # Lost, until it is offered: what fails here may have made topics that nobody will take.
        self._lost += 1
        await self._own.make(list(made))
        await self._shared.offer(made)
        self._lost = 0
        return len(made)

    async def sweep(self) -> Sequence[ConversationId]:
        """Delete the topics that nobody will use, and return whose they were. Raises KafkaUnavailable."""
        old = overdue(await self._own.there(), self._clock.wall_ms())
        # Listed first, then asked: who has begun one of these did so long before the list was made.
        unused = await self._names.nameless(old) if old else ()
        for first in range(0, len(unused), BATCH):
            batch = unused[first : first + BATCH]
            await self._own.unmake(batch)
            await asyncio.sleep(len(batch) / self._making.per_s)
        if unused:
            log.info("deleted %d own topics that nobody used", len(unused))
        return unused

    async def _run(self) -> None:
        while True:
            rest_s = _LOOK_S
            if self._shared.is_makers:
                try:
                    rest_s = max(_LOOK_S, await self.refill() / self._making.per_s)
                    if self._clock.monotonic_s() >= self._sweep_at_s:
                        await self.sweep()
                        self._sweep_at_s = self._clock.monotonic_s() + _SWEEP_S
                except DependencyError as error:
                    log.warning("no spare topics can be made: %s", error)
                    rest_s = pause_s(self._lost)
            await asyncio.sleep(rest_s)

    async def _room(self) -> int | None:
        """Own topics that may be made; none for a while where there was no room just now. None = no bound."""
        if self._making.most is None:
            return None
        if self._clock.monotonic_s() < self._room_at_s:
            return 0
        room = self._making.most - len(await self._own.there())
        if room <= 0:
            self._room_at_s = self._clock.monotonic_s() + _FULL_S
        return room
