import asyncio
import dataclasses
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infra.local.node import local_cassandra
from infra.runtime.cassandra import CassandraSettings, Store
from infra.runtime.kafka import Appender, KafkaSettings
from infra.runtime.metrics import Metrics
from infra.runtime.turn_store import TurnStore
from schemas import ids, instants, topics
from schemas.errors import CassandraUnavailable
from schemas.ids import ConversationId
from schemas.records import ConversationChanged, ConversationDeleted, DeadLettered, Record, TurnCompleted, TurnReturned
from stream_processors.persistence.app import Persistence
from stream_processors.persistence.settings import PersistenceSettings
from tests.stream_processors.records import Log, new_conversation, reset
from tests.support.samples import sample
from tests.support.waiting import until

BEGAN_MS = instants.to_ms("2026-01-31T12:00:00.000Z")
Make = Callable[..., Persistence]


@pytest.fixture
def cassandra_settings(cassandra: tuple[str, int], keyspace: str) -> CassandraSettings:
    host, port = cassandra
    return CassandraSettings(contact_points=(host,), port=port, keyspace=keyspace, request_timeout_s=3)


@pytest.fixture
async def make(kafka_settings: KafkaSettings, cassandra_settings: CassandraSettings) -> AsyncIterator[Make]:
    """Persistence services on the test's topics and keyspace, stopped behind it."""
    made: list[Persistence] = []

    def build(cassandra: CassandraSettings = cassandra_settings, **settings: Any) -> Persistence:
        service = Persistence(kafka_settings, cassandra, PersistenceSettings(**settings), Metrics("persistence"))
        made.append(service)
        return service

    yield build
    for service in made:
        await service.stop()


@pytest.fixture
async def turns(cassandra_settings: CassandraSettings) -> AsyncIterator[TurnStore]:
    store = Store(cassandra_settings)
    await store.connected()
    yield TurnStore(store)
    await store.execute_plain(f"DROP KEYSPACE IF EXISTS {cassandra_settings.keyspace}")
    await store.stop()


def completed(conversation: ConversationId, n: int, **changes: Any) -> TurnCompleted:
    at = instants.from_ms(BEGAN_MS + n)
    full: TurnCompleted = sample(TurnCompleted)
    values: dict[str, Any] = {
        "conversation": conversation,
        "turn": ids.turn_id(conversation, f"{n:032x}"),
        "n": n,
        "at": at,
        "ended_at": at,
        "user": "ann",
    }
    return dataclasses.replace(full, **(values | changes))


def changed(conversation: ConversationId, **changes: Any) -> ConversationChanged:
    full: ConversationChanged = sample(ConversationChanged)
    values: dict[str, Any] = {"conversation": conversation, "deleted": False, "retired": False, "user": "ann"}
    return dataclasses.replace(full, **(values | changes))


def deleted(conversation: ConversationId) -> ConversationDeleted:
    full: ConversationDeleted = sample(ConversationDeleted)
    return dataclasses.replace(full, conversation=conversation, turn=None, user="ann")


async def send(appender: Appender, *records: Record) -> None:
    for record in records:
        topic = topics.CONVERSATIONS if isinstance(record, ConversationChanged) else topics.TURNS
        await appender.append(topic, record)


async def stored(turns: TurnStore, conversation: ConversationId) -> list[int]:
    """The places of the conversation's rows; none while there are no tables yet."""
    try:
        return [turn.n for turn in await turns.oldest(conversation, 1000)]
    except CassandraUnavailable:
        return []


async def has_all(turns: TurnStore, conversation: ConversationId, wanted: int) -> bool:
    return len(await stored(turns, conversation)) >= wanted


async def test_turns_become_rows(make: Make, appender: Appender, turns: TurnStore) -> None:
    """Turns, the conversation's own record and its resets are in the store, in migrated tables, whatever passes by."""
    conversation = new_conversation()
    returned = dataclasses.replace(sample(TurnReturned), conversation=conversation)
    await send(
        appender, changed(conversation), completed(conversation, 1), returned, reset(conversation, epoch=1, user="ann")
    )
    await send(appender, completed(conversation, 2), completed(conversation, 3, stored=False, input_text=None))
    await make().start()
    await until(lambda: has_all(turns, conversation, 2), limit_s=40)
    assert await turns.turn(ids.turn_id(conversation, f"{1:032x}")) == completed(conversation, 1)
    assert await stored(turns, conversation) == [1, 2]

    async def is_whole() -> bool:
        found = await turns.conversation(conversation)
        return found is not None and (found.epoch, found.created_at is not None) == (1, True)

    await until(is_whole)


async def test_replays_change_nothing(make: Make, appender: Appender, turns: TurnStore) -> None:
    """Every record twice, in any order, and behind a delete: the rows end as if each had come once."""
    kept, gone, last = new_conversation(), new_conversation(), new_conversation()
    records: list[Record] = [completed(kept, n) for n in range(1, 6)]
    records += [completed(gone, n) for n in range(1, 6)] + [changed(kept), changed(gone), deleted(gone)]
    for seed in (1, 2):
        random.Random(seed).shuffle(records)
        await send(appender, *records)
    await send(appender, completed(last, 1))
    await make(batch=3).start()
    for conversation, wanted in ((last, 1), (kept, 5)):
        await until(partial(has_all, turns, conversation, wanted), limit_s=40)

    async def is_gone() -> bool:
        found = await turns.conversation(gone)
        return found is not None and found.deleted

    await until(is_gone)
    # A late replay by a process that begins anew.
    await send(appender, completed(gone, 6), changed(gone), completed(last, 2))
    await until(lambda: has_all(turns, last, 2))
    assert await stored(turns, kept) == [1, 2, 3, 4, 5]
    assert await stored(turns, gone) == []
    assert set(await turns.activity("acme", "ann")) == {kept, last}


async def test_unreadable_records_hold_nothing_up(make: Make, appender: Appender, turns: TurnStore, log: Log) -> None:
    """What can't be read goes to dead.letters with its place; the turns around it are stored."""
    conversation = new_conversation()
    await send(appender, completed(conversation, 1))
    placed = await appender.append_bytes(topics.TURNS, b"[1, 2", key=conversation.encode())
    await send(appender, completed(conversation, 2))
    await make().start()
    await until(lambda: has_all(turns, conversation, 2), limit_s=40)
    [letter] = await log.at_least(topics.DEAD_LETTERS, 1)
    assert isinstance(letter, DeadLettered)
    assert (letter.role, letter.source.topic, letter.source.offset) == ("persistence", topics.TURNS, placed.offset)


async def test_a_clean_end_commits(make: Make, appender: Appender, turns: TurnStore, log: Log) -> None:
    """What was written before a drain is not read again: the next process begins behind it."""
    conversation = new_conversation()
    first = make()
    await first.start()
    # Unreadable on purpose: each reading of it leaves a letter.
    await appender.append_bytes(topics.TURNS, b"{", key=conversation.encode())
    await send(appender, completed(conversation, 1))
    await until(lambda: has_all(turns, conversation, 1), limit_s=40)
    await first.drain()
    await first.stop()
    await make().start()
    await send(appender, completed(conversation, 2))
    await until(lambda: has_all(turns, conversation, 2), limit_s=40)
    assert await log.count(topics.DEAD_LETTERS) == 1


async def test_a_store_away_is_waited_for(
    make: Make, appender: Appender, kafka_settings: KafkaSettings, tmp_path: Path, keyspace: str
) -> None:
    """While the store is away nothing is committed and nothing lost, the service says so, and catches up behind it."""
    node = local_cassandra(tmp_path / "cassandra")
    host, _, port = (await node.start()).rpartition(":")
    settings = CassandraSettings(contact_points=(host,), port=int(port), keyspace=keyspace, request_timeout_s=2)
    store = Store(settings)
    try:
        await store.connected()
        turns = TurnStore(store)
        conversation = new_conversation()
        service = make(settings)
        await service.start()
        await send(appender, completed(conversation, 1))
        await until(lambda: has_all(turns, conversation, 1), limit_s=40)
        assert service.readiness().degraded == ()
        assert node.pid is not None
        os.killpg(node.pid, signal.SIGSTOP)
        try:
            await send(appender, *(completed(conversation, n) for n in range(2, 40)))
            await until(lambda: _is_degraded(service), limit_s=30)
            # Killed while it waits: only what is committed is left out of the next one's reading.
            await service.stop()
        finally:
            os.killpg(node.pid, signal.SIGCONT)
        await make(settings).start()
        await until(lambda: has_all(turns, conversation, 39), limit_s=60)
    finally:
        await store.stop()
        await node.stop()


async def _is_degraded(service: Persistence) -> bool:
    return "the store is away" in service.readiness().degraded


async def test_kills_lose_no_row(make: Make, appender: Appender, turns: TurnStore) -> None:
    """Cut off without a commit at any moment, again and again, every turn is stored in the end."""
    conversations = [new_conversation() for _ in range(20)]
    for n in range(1, 16):
        acks = [await appender.send(topics.TURNS, completed(each, n)) for each in conversations]
        await asyncio.gather(*acks)
    for wanted in (1, 4, 8):
        service = make(batch=10)
        await service.start()
        await until(partial(has_all, turns, conversations[0], wanted), limit_s=40)
        await service.stop()
    await make(batch=10).start()
    for conversation in conversations:
        await until(partial(has_all, turns, conversation, 15), limit_s=60)
        assert await stored(turns, conversation) == list(range(1, 16))
