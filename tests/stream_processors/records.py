"""Records as the processors' tests send them, and topics read back whole."""

import dataclasses
import uuid
from collections.abc import Callable
from typing import Any

from infra.runtime.kafka_log import Entry, LogReader
from schemas import codec, ids
from schemas.ids import ConversationId
from schemas.records import ConversationReset, Record, TurnRequested
from tests.support.samples import sample
from tests.support.waiting import until


class Log:
    """Reads whole topics."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    async def entries(self, topic: str) -> list[Entry]:
        """All entries, partition by partition."""
        found: list[Entry] = []
        for partition in await self._reader.partitions(topic):
            begin, _ = await self._reader.bounds(topic, partition)
            found += await self._reader.read_all(topic, partition, begin)
        return found

    async def records(self, topic: str) -> list[Record]:
        """All records, partition by partition in order."""
        return [codec.decode(entry.value) for entry in await self.entries(topic) if entry.value is not None]

    async def count(self, topic: str) -> int:
        """How many entries the topic has."""
        bounds = [await self._reader.bounds(topic, each) for each in await self._reader.partitions(topic)]
        return sum(end - begin for begin, end in bounds)

    async def until(self, topic: str, enough: Callable[[list[Record]], bool], limit_s: float = 20.0) -> list[Record]:
        """All records once there are enough of them."""

        async def ask() -> list[Record]:
            found = await self.records(topic)
            return found if enough(found) else []

        return await until(ask, limit_s=limit_s)

    async def at_least(self, topic: str, number: int, limit_s: float = 20.0) -> list[Record]:
        """All records once there are that many."""

        async def ask() -> bool:
            return await self.count(topic) >= number

        await until(ask, limit_s=limit_s)
        return await self.records(topic)


def new_conversation() -> ConversationId:
    """A conversation that no other test knows."""
    return ids.conversation_id(uuid.uuid4().hex)


def requested(text: str, conversation: ConversationId | None = None, **changes: Any) -> TurnRequested:
    """A turn with this text; the rest of the request is full of harmless text."""
    conversation = conversation or new_conversation()
    turn = ids.turn_id(conversation, uuid.uuid4().hex)
    full: TurnRequested = sample(TurnRequested)
    request = dataclasses.replace(full.request, text=text, history=(), **changes)
    return dataclasses.replace(
        full, id=f"{turn}.requested", conversation=conversation, turn=turn, attempt=None, request=request
    )


def reset(conversation: ConversationId, **changes: Any) -> ConversationReset:
    """A reset of that conversation, as a gateway writes it."""
    full: ConversationReset = sample(ConversationReset)
    values: dict[str, Any] = {"id": uuid.uuid4().hex, "conversation": conversation, "turn": None, "epoch": None}
    return dataclasses.replace(full, **(values | changes))
