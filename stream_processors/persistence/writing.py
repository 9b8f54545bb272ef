"""Writes records into the store until it has taken them all: a store that is away is waited for, no record left out."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from infra.runtime.turn_store import TurnStore
from schemas.errors import CassandraUnavailable
from schemas.ids import ConversationId
from schemas.records import ConversationChanged, ConversationDeleted, ConversationReset, TurnCompleted
from stream_processors.persistence.reading import Stored, conversation_of

_FIRST_BACKOFF_S: Final = 0.2
_LONGEST_BACKOFF_S: Final = 5.0

log = logging.getLogger(__name__)


class PatientWriter:
    """Writes in the order of each conversation, several conversations at once.

    Args:
        turns: the store.
        at_once: conversations that are written at the same time.
    """

    def __init__(self, turns: TurnStore, at_once: int) -> None:
        self._turns = turns
        self._slots = asyncio.Semaphore(at_once)
        self._waiting = 0

    @property
    def is_waiting(self) -> bool:
        """True while the store doesn't take what is given."""
        return self._waiting > 0

    async def write_all(self, records: Sequence[Stored]) -> None:
        """Return when every record is in the store. Raises InvariantBroken for a statement that is wrong: a bug."""
        by_conversation: dict[ConversationId, list[Stored]] = {}
        for record in records:
            by_conversation.setdefault(conversation_of(record), []).append(record)
        async with asyncio.TaskGroup() as group:
            for rows in by_conversation.values():
                group.create_task(self._write_in_order(rows))

    async def _write_in_order(self, rows: Sequence[Stored]) -> None:
        for record in rows:
            await self._write_until_taken(record)

    async def _write_until_taken(self, record: Stored) -> None:
        backoff_s = _FIRST_BACKOFF_S
        is_waiting = False
        try:
            while True:
                try:
                    async with self._slots:
                        await self.write(record)
                    return
                except CassandraUnavailable as error:
                    if not is_waiting:
                        is_waiting = True
                        self._waiting += 1
                        if self._waiting == 1:
                            log.warning("the store is away, its records wait: %s", error)
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
        finally:
            self._waiting -= is_waiting

    async def write(self, record: Stored) -> None:
        """Put one record into the store. Idempotent. Raises CassandraUnavailable."""
        conversation = conversation_of(record)
        match record:
            case TurnCompleted():
                await self._turns.save_turn(record)
            case ConversationChanged():
                await self._turns.save_conversation(record)
            case ConversationReset():
                await self._turns.reset_conversation(conversation, record.epoch or 0)
            case ConversationDeleted():
                await self._turns.delete_conversation(conversation, tenant=record.tenant or "", user=record.user)
