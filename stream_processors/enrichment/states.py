"""The states of conversations as the gate uses them: decoded and kept in memory, with an agenda and gauges beside.

Nothing here awaits: a state is visible to the next step at once, and its future says when it is safe.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from infra.runtime.clock import Clock
from schemas.ids import ConversationId
from stream_processors.enrichment import deadlines, fencing
from stream_processors.enrichment.agenda import Agenda
from stream_processors.enrichment.changelog import Changelog
from stream_processors.enrichment.facts import Limits
from stream_processors.enrichment.state import State
from stream_processors.enrichment.state_codec import has_open_turns, pack, unpack
from stream_processors.enrichment.waiting import QueueGauges

_DECODED: Final = 8_192  # conversations kept in memory: those that speak now


class States:
    """See the module.

    Args:
        table: one value a conversation.
        gauges: told of each state that an owned conversation comes to.
        limits: when a state wants its next tick.
    """

    def __init__(self, table: Changelog, *, gauges: QueueGauges, clock: Clock, limits: Limits) -> None:
        self._table = table
        self._gauges = gauges
        self._clock = clock
        self._limits = limits
        self._decoded: OrderedDict[ConversationId, State | None] = OrderedDict()
        self._agendas: dict[int, Agenda] = {}
        self._generations: dict[int, int] = {}

    # --- partitions come and go ---------------------------------------------------------------------------------------

    @property
    def partitions(self) -> tuple[int, ...]:
        """Those that are owned and recovered."""
        return tuple(self._agendas)

    def written_under(self, partition: int) -> int:
        """The generation that this process writes under there: above all that the table has seen."""
        return self._generations[partition]

    def opened(self, partition: int, *, end: int, generation: int) -> None:
        """The partition is ours, recovered up to `end` of its changelog, in this generation of the group."""
        agenda, seen = Agenda(), 0
        for key, stamp in self._table.stamps(partition):
            agenda.put(key, stamp.due_ms)
            seen = max(seen, stamp.generation)
        effective = fencing.effective(generation, seen)
        self._generations[partition] = effective
        self._agendas[partition] = agenda
        self._table.opened(partition, end, effective)
        for key in [key for key, _ in self._table.stamps(partition)]:
            raw = self._table.read(partition, key)
            if raw is not None and has_open_turns(raw):
                self._gauges.moved(partition, None, unpack(ConversationId(key.decode()), raw))

    def closed(self) -> None:
        """No partition is ours until `opened` says so."""
        for partition in self._agendas:
            self._table.closed(partition)
            self._gauges.closed(partition)
        self._agendas.clear()
        self._generations.clear()
        self._decoded.clear()

    # --- one conversation ---------------------------------------------------------------------------------------------

    def read(self, partition: int, conversation: ConversationId) -> State | None:
        """The conversation's state, None: the gate doesn't know it."""
        if conversation in self._decoded:
            self._decoded.move_to_end(conversation)
            return self._decoded[conversation]
        state = self.peek(partition, conversation)
        self._remember(conversation, state)
        return state

    def peek(self, partition: int, conversation: ConversationId) -> State | None:
        """The conversation's state, not kept in memory for it."""
        if conversation in self._decoded:
            return self._decoded[conversation]
        raw = self._table.read(partition, conversation.encode())
        return None if raw is None else unpack(conversation, raw)

    def write(
        self,
        partition: int,
        conversation: ConversationId,
        before: State | None,
        after: State | None,
        *,
        behind: "Sequence[asyncio.Future[None]]" = (),
    ) -> "asyncio.Future[None]":
        """The conversation went from one state, as `read` gave it, to another; None: it is forgotten.

        Args:
            behind: what the state speaks of: see `Changelog.write`.
        """
        key = conversation.encode()
        due_ms = 0 if after is None else deadlines.due_ms(after, self._limits, self._clock.wall_ms())
        self._agendas[partition].put(key, due_ms)
        self._remember(conversation, after)
        self._gauges.moved(partition, before, after)
        return self._table.write(
            partition,
            key,
            None if after is None else pack(after),
            generation=self._generations[partition],
            due_ms=due_ms,
            behind=behind,
        )

    def is_ours(self, partition: int, conversation: ConversationId) -> bool:
        """Whether this life of the gate has written the conversation's state, so that no zombie's can undo it."""
        return self._table.is_written_under(partition, conversation.encode(), self._generations[partition])

    def _remember(self, conversation: ConversationId, state: State | None) -> None:
        self._decoded[conversation] = state
        self._decoded.move_to_end(conversation)
        if len(self._decoded) > _DECODED:
            self._decoded.popitem(last=False)

    # --- the agenda ---------------------------------------------------------------------------------------------------

    def due(self, partition: int) -> list[ConversationId]:
        """The conversations that want a tick now; each must be given to `ticked` when it had it."""
        agenda = self._agendas.get(partition)
        return [] if agenda is None else [ConversationId(key.decode()) for key in agenda.take(self._clock.wall_ms())]

    def look_at(self, partition: int, conversation: ConversationId) -> None:
        """The conversation wants a tick at once."""
        self._agendas[partition].put(conversation.encode(), self._clock.wall_ms())

    def ticked(self, partition: int, conversation: ConversationId) -> None:
        """The conversation is on the agenda again, also if the tick has changed nothing; not if it is forgotten."""
        agenda = self._agendas.get(partition)
        if agenda is None:
            return  # it went to somebody else meanwhile, who has an agenda of its own
        state = self.read(partition, conversation)
        if state is not None:
            agenda.put(conversation.encode(), deadlines.due_ms(state, self._limits, self._clock.wall_ms()))
