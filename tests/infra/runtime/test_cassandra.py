"""A real Cassandra through asyncio: statements, timestamps, bounds, and a store that is away."""

import asyncio
import itertools
from pathlib import Path

import pytest

from infra.local.node import local_cassandra
from infra.runtime.cassandra import CassandraSettings, Store
from schemas.errors import CassandraUnavailable, InvariantBroken

TABLE = "CREATE TABLE t (a int, b int, c text, PRIMARY KEY (a, b))"
INSERT = "INSERT INTO {keyspace}.t (a, b, c) VALUES (?, ?, ?)"
SELECT = "SELECT b, c FROM {keyspace}.t WHERE a = ?"


async def test_rows_come_in_the_order_asked_for(store: Store) -> None:
    """What was written is read back, values in the order of the columns asked for."""
    await store.execute_plain(TABLE)
    await asyncio.gather(*(store.execute(INSERT, (1, number, f"c{number}")) for number in range(50)))
    assert await store.execute(SELECT, (1,)) == [(number, f"c{number}") for number in range(50)]
    assert await store.execute(SELECT, (2,)) == []


async def test_all_pages_arrive(store: Store) -> None:
    """A result larger than one page (5 000 rows) comes whole."""
    await store.execute_plain(TABLE)
    await asyncio.gather(*(store.execute(INSERT, (1, number, "x")) for number in range(6000)))
    assert [row[0] for row in await store.execute(SELECT, (1,))] == list(range(6000))


async def test_the_record_s_time_decides(store: Store) -> None:
    """With `USING TIMESTAMP` the later record wins, in whatever order they are written."""
    await store.execute_plain(TABLE)
    timed = INSERT + " USING TIMESTAMP ?"
    await store.execute(timed, (1, 1, "later", 2_000))
    await store.execute(timed, (1, 1, "earlier", 1_000))
    assert await store.execute(SELECT, (1,)) == [(1, "later")]


async def test_a_lightweight_transaction_says_whether_it_was_applied(store: Store) -> None:
    """The first of two inserts wins, and the second is told."""
    await store.execute_plain(TABLE)
    once = INSERT + " IF NOT EXISTS"
    first = await store.execute(once, (1, 1, "a"), is_idempotent=False)
    second = await store.execute(once, (1, 1, "b"), is_idempotent=False)
    assert (first[0][0], second[0][0]) == (True, False)


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        ("SELECT nope FROM {keyspace}.t WHERE a = ?", (1,)),
        ("SELEKT", ()),
        (SELECT, ("x",)),
        (SELECT, (1, 2)),
    ],
)
async def test_a_wrong_statement_is_a_bug(store: Store, statement: str, parameters: tuple[object, ...]) -> None:
    """What no retry can mend is told apart from a store that is away."""
    await store.execute_plain(TABLE)
    with pytest.raises(InvariantBroken):
        await store.execute(statement, parameters)


async def test_a_table_that_is_not_there_yet_is_waited_for(store: Store) -> None:
    """Before the migrations have run a statement fails as an outage does, and works behind them without a restart."""
    with pytest.raises(CassandraUnavailable):
        await store.execute(SELECT, (1,))
    await store.execute_plain(TABLE)
    assert await store.execute(SELECT, (1,)) == []


async def test_a_cancelled_caller_leaves_the_session_whole(store: Store) -> None:
    """Who gives up waiting disturbs nobody, and no slot is lost to it."""
    await store.execute_plain(TABLE)
    for _ in range(100):
        task = asyncio.create_task(store.execute(SELECT, (1,)))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    assert store._slots._value == store.settings.in_flight
    assert await store.execute(SELECT, (1,)) == []


async def test_a_store_that_is_away_is_told_at_once() -> None:
    """Nothing waits for a store that isn't there: starting returns, statements fail, waiting is bounded."""
    store = Store(CassandraSettings(contact_points=("127.0.0.1",), port=1))
    async with asyncio.timeout(10):
        await store.start()
        assert not store.is_connected
        with pytest.raises(CassandraUnavailable, match=r"127\.0\.0\.1:1"):
            await store.execute("SELECT x FROM y")
        with pytest.raises(CassandraUnavailable):
            await store.connected(within_s=0.5)
        await store.stop()
        await store.stop()


def test_no_outage_is_too_long() -> None:
    """A node that is away is asked again for ever, every five seconds: the driver gives none up."""
    schedule = Store(CassandraSettings())._described().reconnection_policy.new_schedule()
    waits = list(itertools.islice(schedule, 20_000))
    assert len(waits) == 20_000
    assert max(waits) <= 5


async def test_a_store_that_comes_back(tmp_path: Path) -> None:
    """Started while the store is away, a process works once it comes, and again after it was killed and returned."""
    node = local_cassandra(tmp_path)
    address = await node.start()
    port = int(address.rpartition(":")[2])
    await node.stop()
    store = Store(CassandraSettings(port=port, keyspace="t", request_timeout_s=2))
    await store.start()
    assert not store.is_connected
    await node.start()
    await store.connected(within_s=60)
    await store.execute_plain(
        "CREATE KEYSPACE {keyspace} WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
    )
    await store.execute_plain(TABLE)
    await store.execute(INSERT, (1, 1, "kept"))
    await node.stop(limit_s=0)
    with pytest.raises(CassandraUnavailable):
        await store.execute(SELECT, (1,))
    await node.start()
    rows = None
    async with asyncio.timeout(60):
        while rows is None:
            try:
                rows = await store.execute(SELECT, (1,))
            except CassandraUnavailable:
                await asyncio.sleep(0.1)
    assert rows == [(1, "kept")]
    await store.stop()
    await node.stop()
