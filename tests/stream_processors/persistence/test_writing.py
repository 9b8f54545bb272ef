import asyncio
import dataclasses
from typing import Any, cast

import pytest

from infra.runtime.turn_store import TurnStore
from schemas import ids
from schemas.errors import CassandraUnavailable, InvariantBroken
from schemas.records import TurnCompleted
from stream_processors.persistence import writing
from stream_processors.persistence.writing import PatientWriter
from tests.stream_processors.records import new_conversation
from tests.support.samples import sample


class FlakyTurns:
    """A store that refuses each write some times before it takes it."""

    def __init__(self, refusals: int, error: Exception | None = None) -> None:
        self.taken: list[TurnCompleted] = []
        self.refused = asyncio.Event()
        self._refusals = refusals
        self._error = error or CassandraUnavailable("away")
        self._asked: dict[str, int] = {}

    async def save_turn(self, turn: TurnCompleted) -> None:
        asked = self._asked[turn.id] = self._asked.get(turn.id, 0) + 1
        if asked <= self._refusals:
            self.refused.set()
            raise self._error
        self.taken.append(turn)


def turns(count: int, conversations: int) -> list[TurnCompleted]:
    names = [new_conversation() for _ in range(conversations)]
    full: TurnCompleted = sample(TurnCompleted)
    made = []
    for n in range(count):
        for name in names:
            turn = ids.turn_id(name, f"{n:032x}")
            made.append(dataclasses.replace(full, id=f"{turn}.completed", conversation=name, turn=turn, n=n))
    return made


def writer(store: Any) -> PatientWriter:
    return PatientWriter(cast("TurnStore", store), 4)


async def test_every_record_is_written_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the store refuses, each record is taken once, in the order of its conversation."""
    monkeypatch.setattr(writing, "_FIRST_BACKOFF_S", 0.0)
    store, records = FlakyTurns(2), turns(5, 6)
    await writer(store).write_all(records)
    assert len(store.taken) == len(records)
    for name in {record.conversation for record in records}:
        assert [each.n for each in store.taken if each.conversation == name] == [0, 1, 2, 3, 4]


async def test_waiting_is_said() -> None:
    """While the store takes nothing the writer says that it waits, and no longer once it is cut off."""
    store = FlakyTurns(10**9)
    made = writer(store)
    work = asyncio.create_task(made.write_all(turns(1, 1)))
    await asyncio.wait_for(store.refused.wait(), 5)
    await asyncio.sleep(0)
    waiting = [made.is_waiting]
    work.cancel()
    await asyncio.wait({work})
    waiting.append(made.is_waiting)
    assert waiting == [True, False]
    assert store.taken == []


async def test_a_wrong_statement_is_no_outage() -> None:
    """A bug leaves at once: nothing is committed behind it."""
    with pytest.raises(ExceptionGroup) as left:
        await writer(FlakyTurns(1, InvariantBroken("wrong"))).write_all(turns(1, 1))
    assert isinstance(left.value.exceptions[0], InvariantBroken)
