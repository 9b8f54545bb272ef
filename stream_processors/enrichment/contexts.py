"""The context table as the gate uses it: what ended turns leave for later prompts, decoded and kept in memory.

Nothing here awaits: an entry is visible to the next step at once, and the futures say when it is safe.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from schemas.ids import ConversationId, TurnId
from schemas.records import ContextLoaded, Record, TurnCompleted
from schemas.turns import Message
from stream_processors.enrichment.changelog import Changelog
from stream_processors.enrichment.context import ContextEntry, context_turn, pack_entry, unpack_entry
from stream_processors.enrichment.counting import Measures
from stream_processors.enrichment.fleet_view import FleetView
from stream_processors.enrichment.planning import count_all
from stream_processors.enrichment.requests import Requests
from stream_processors.enrichment.state import State

# At most 32 MiB of decoded entries; a larger one is read from the table each time.
_ENTRIES: Final = 2_048
_ENTRY_BYTES: Final = 16_384


class Contexts:
    """See the module.

    Args:
        table: one value a turn, written once.
        requests: for the history that a client gave with its turn.
        measures, fleet: how the model that answered counts, so that its tokens are counted once.
    """

    def __init__(self, table: Changelog, *, requests: Requests, measures: Measures, fleet: FleetView) -> None:
        self._table = table
        self._requests = requests
        self._measures = measures
        self._fleet = fleet
        self._entries: OrderedDict[TurnId, ContextEntry] = OrderedDict()
        self._generations: dict[int, int] = {}

    def opened(self, partition: int, *, end: int, generation: int) -> None:
        """The partition is ours, recovered up to `end` of its changelog, and written under this generation."""
        self._generations[partition] = generation
        self._table.opened(partition, end, generation)

    def closed(self) -> None:
        """No partition is ours until `opened` says so."""
        for partition in self._generations:
            self._table.closed(partition)
        self._generations.clear()
        self._entries.clear()

    def holds(self, partition: int, turn: TurnId) -> bool:
        """Whether that turn's end is in the table."""
        return self._table.read(partition, turn.encode()) is not None

    def look_up(self, partition: int, turn: TurnId) -> ContextEntry | None:
        """The turn's entry, None without one. Raises ContractError."""
        found = self._entries.get(turn)
        if found is not None:
            self._entries.move_to_end(turn)
            return found
        raw = self._table.read(partition, turn.encode())
        if raw is None:
            return None
        entry = unpack_entry(raw)
        self._remember(turn, entry, len(raw))
        return entry

    def brought(self, partition: int, before: State | None, record: Record | None) -> list[ContextEntry]:
        """What the input's record adds to the context, to be kept only if the reducer says so.

        Raises:
            NotAtHand: the history of a turn that has ended, or the tokenizer of its model, must be fetched first.
        """
        match record:
            case ContextLoaded():
                return [ContextEntry(turn=turn) for turn in record.turns]
            case TurnCompleted(stored=True):
                return [self._ended(partition, before, record)]
            case _:
                return []

    def _ended(self, partition: int, before: State | None, record: TurnCompleted) -> ContextEntry:
        open_turn = next((turn for turn in (before.turns if before else ()) if turn.turn == record.turn), None)
        history: tuple[Message, ...] = ()
        if open_turn is not None and open_turn.has_history:
            history = self._requests.at_hand(partition, open_turn.order).request.history
        turn = context_turn(record, history)
        deployment = self._fleet.deployment(record.pool)
        if deployment is None or not turn.texts:
            return ContextEntry(turn=turn)
        tokens = count_all(turn.texts, self._measures.of(deployment))
        return ContextEntry(turn=turn, counts={deployment.model_version: tokens})

    def keep(self, partition: int, entries: Iterable[ContextEntry]) -> "list[asyncio.Future[None]]":
        """The entries are in the table; those that it holds already stay as they are."""
        written = []
        for entry in entries:
            turn = entry.turn.turn
            if not self.holds(partition, turn):
                packed = pack_entry(entry)
                self._remember(turn, entry, len(packed))
                written.append(self._write(partition, turn.encode(), packed))
        return written

    def forget(self, partition: int, conversation: ConversationId) -> "list[asyncio.Future[None]]":
        """No turn of the conversation is in the table."""
        keys = self._table.keys(partition, f"resp_{conversation[5:]}".encode())
        for key in keys:
            self._entries.pop(TurnId(key.decode()), None)
        return [self._write(partition, key, None) for key in keys]

    def _write(self, partition: int, key: bytes, content: bytes | None) -> "asyncio.Future[None]":
        return self._table.write(partition, key, content, generation=self._generations[partition])

    def _remember(self, turn: TurnId, entry: ContextEntry, size: int) -> None:
        if size <= _ENTRY_BYTES:
            self._entries[turn] = entry
            if len(self._entries) > _ENTRIES:
                self._entries.popitem(last=False)
