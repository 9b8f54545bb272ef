"""What is kept of turns once they have ended: rows in the store, bills on `chat.usage`, records on `chat.turns`."""

import collections
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from infra.runtime.cassandra import CassandraSettings, Store
from infra.runtime.turn_store import TurnStore
from schemas import codec, ids, topics
from schemas.errors import CassandraUnavailable
from schemas.records import TurnCompleted, UsageRecorded
from tests.support.analyst import read_whole
from tests.support.waiting import until

# A processor's session timeout and a start of another one, on a busy machine.
PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Account:
    """What is kept of some turns.

    Args:
        rows: of each turn in the store.
        bills: each turn's usage records, repeats left out.
        ends: how many different ends `chat.turns` tells of each turn.
        undispatched: turns that ended before any worker had them, with the error's code: those have no bill.
        took_s: until all of it was there.
    """

    rows: Mapping[str, int]
    bills: Mapping[str, list[UsageRecorded]]
    ends: Mapping[str, int]
    undispatched: Mapping[str, str]
    took_s: float

    def lost(self, turns: Collection[str]) -> list[str]:
        """Turns without a row or an end, and those that a worker had without a bill."""
        return [
            turn
            for turn in turns
            if not self.rows.get(turn)
            or not self.ends.get(turn)
            or bool(self.bills.get(turn)) is (turn in self.undispatched)
        ]

    def doubled(self, turns: Collection[str]) -> list[str]:
        """Turns that are there twice, in one place or another."""
        return [
            turn
            for turn in turns
            if self.rows.get(turn, 0) > 1 or len(self.bills.get(turn, ())) > 1 or self.ends.get(turn, 0) > 1
        ]


async def account(
    bootstrap: str, cassandra: tuple[str, int], turns: Collection[str], *, limit_s: float = PATIENCE_S
) -> Account:
    """Wait until every turn is in all three places, or until the limit, and say what there is."""
    host, port = cassandra
    store = Store(CassandraSettings(contact_points=(host,), port=port))
    began = time.monotonic()
    last: list[Account] = []

    async def ask() -> bool:
        last[:] = [await _now(bootstrap, TurnStore(store), turns, time.monotonic() - began)]
        return not last[0].lost(turns)

    try:
        await store.connected()
        await until(ask, limit_s=limit_s, every_s=0.5)
    except TimeoutError:
        if not last:
            raise
    finally:
        await store.stop()
    return last[0]


async def _now(bootstrap: str, store: TurnStore, turns: Collection[str], took_s: float) -> Account:
    bills: dict[str, dict[str, UsageRecorded]] = collections.defaultdict(dict)
    ends: dict[str, set[bytes]] = collections.defaultdict(set)
    undispatched: dict[str, str] = {}
    for entry in await read_whole(bootstrap, [topics.USAGE, topics.TURNS]):
        record = codec.decode(entry.value or b"null")
        if isinstance(record, UsageRecorded) and record.turn in turns:
            # The same id with other figures would be counted differently by whoever keeps another one of them.
            bills[str(record.turn)][f"{record.id} {codec.encode(record)!r}"] = record
        elif isinstance(record, TurnCompleted) and record.turn in turns:
            ends[str(record.turn)].add(codec.encode(record))
            if record.attempts == 0:
                undispatched[str(record.turn)] = str(record.detail.error and record.detail.error.code.value)
    rows: collections.Counter[str] = collections.Counter()
    for conversation in {ids.conversation_of(ids.parse_turn(turn)) for turn in turns}:
        try:
            rows.update(str(row.turn) for row in await store.oldest(conversation, 1000))
        except CassandraUnavailable:
            continue
    return Account(
        rows={turn: rows[turn] for turn in turns},
        bills={turn: list(found.values()) for turn, found in bills.items()},
        ends={turn: len(found) for turn, found in ends.items()},
        undispatched=undispatched,
        took_s=took_s,
    )
