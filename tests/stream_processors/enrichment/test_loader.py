import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

from infra.runtime.turn_store import StoredConversation
from schemas.errors import CassandraUnavailable
from schemas.ids import ConversationId, TurnId
from schemas.records import ContextLoaded, Record, TurnCompleted
from stream_processors.enrichment.loader import Loader
from stream_processors.enrichment.reading import read
from tests.stream_processors.enrichment.simulation import CONVERSATION, turn_id
from tests.support.samples import sample


def _turn(n: int) -> TurnCompleted:
    turn: TurnCompleted = sample(TurnCompleted)
    detail = replace(turn.detail, epoch=2)
    return replace(
        turn, conversation=CONVERSATION, turn=turn_id(n), n=n, parent=turn_id(n - 1) if n > 1 else None, detail=detail
    )


@dataclass
class FakePast:
    turns: list[TurnCompleted] = field(default_factory=list)
    is_known: bool = True
    is_deleted: bool = False
    failures: int = 0

    async def conversation(self, conversation: ConversationId) -> StoredConversation | None:
        if self.failures:
            self.failures -= 1
            raise CassandraUnavailable("away")
        if not self.is_known:
            return None
        return StoredConversation(
            conversation=conversation, tenant="acme", user="u", created_at=None, metadata={}, instructions=None,
            retired=False, deleted=self.is_deleted, epoch=2, next_n=len(self.turns) + 1, active_at=None,
        )  # fmt: skip

    async def newest(
        self, conversation: ConversationId, limit: int, *, before_n: int | None = None
    ) -> tuple[TurnCompleted, ...]:
        found = [turn for turn in reversed(self.turns) if before_n is None or turn.n < before_n]
        return tuple(found[:limit])

    async def turn(self, turn: TurnId) -> TurnCompleted | None:
        return next((each for each in self.turns if each.turn == turn), None)


class FakeAppender:
    def __init__(self) -> None:
        self.records: list[Record] = []
        self.came = asyncio.Event()

    async def append(self, topic: str, record: Record) -> None:
        self.records.append(record)
        self.came.set()


async def _load(past: FakePast, parent: TurnId | None = None, limit: int = 400) -> ContextLoaded:
    appender = FakeAppender()
    loader = Loader(past, appender, lambda: 1, limit)  # type: ignore[arg-type]
    loader.want(CONVERSATION, "acme", parent)
    loader.want(CONVERSATION, "acme", parent)
    async with asyncio.timeout(10):
        await appender.came.wait()
    await loader.stop()
    [record] = appender.records
    assert isinstance(record, ContextLoaded)
    return record


async def test_the_newest_turns_come_oldest_first() -> None:
    """A load brings the newest turns over as many pages as needed, once however often it is wanted."""
    record = await _load(FakePast([_turn(n) for n in range(1, 121)]))
    assert [turn.n for turn in record.turns] == list(range(1, 121))
    assert (record.next_n, record.epoch, record.found) == (121, 2, True)
    short = await _load(FakePast([_turn(n) for n in range(1, 121)]), limit=60)
    assert [turn.n for turn in short.turns] == list(range(61, 121))


async def test_a_chain_is_loaded_from_its_parent() -> None:
    """A named parent brings its own chain, and says for which turn it was asked."""
    record = await _load(FakePast([_turn(n) for n in range(1, 9)]), parent=turn_id(3))
    assert [turn.n for turn in record.turns] == [1, 2, 3]
    assert record.turn == turn_id(3)


async def test_unknown_and_deleted_conversations_are_said() -> None:
    """What the store never heard of begins anew; what was deleted is said to be."""
    unknown: Any = await _load(FakePast(is_known=False))
    assert (unknown.found, unknown.next_n, unknown.turns) == (False, 1, ())
    deleted = await _load(FakePast([_turn(1)], is_deleted=True))
    assert (deleted.deleted, deleted.turns) == (True, ())


async def test_a_store_that_is_away_is_asked_again() -> None:
    """A load goes on until the store answers."""
    record = await _load(FakePast([_turn(1)], failures=2))
    assert record.found


async def test_large_turns_stay_below_a_record() -> None:
    """A load ends before its record grows too large; the newest turn is always in it."""
    huge = [replace(_turn(n), input_text="x" * 400_000) for n in range(1, 5)]
    record = await _load(FakePast(huge))
    assert [turn.n for turn in record.turns] == [4]
    addressed = read("chat.control", 1, record, {})
    assert addressed is not None
