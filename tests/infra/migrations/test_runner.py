"""Migrations on a real Cassandra: each file once, whoever starts at the same time, and a changed file is refused."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.migrations.runner import _TAKE, Migration, migrate, migrations, statements
from infra.runtime.cassandra import CassandraSettings, Store
from schemas.errors import CassandraUnavailable, InvariantBroken

ONE = Migration("0001_one.cql", "CREATE TABLE IF NOT EXISTS one (a int PRIMARY KEY);\n")
TWO = Migration(
    "0002_two.cql", "-- two; and more\nALTER TABLE one ADD b int;\nCREATE TABLE IF NOT EXISTS two (a int PRIMARY KEY);"
)


@pytest.fixture
async def store(cassandra: tuple[str, int], keyspace: str) -> AsyncIterator[Store]:
    host, port = cassandra
    made = Store(CassandraSettings(contact_points=(host,), port=port, keyspace=keyspace))
    yield made
    await made.execute_plain("DROP KEYSPACE IF EXISTS {keyspace}")
    await made.stop()


async def test_each_file_is_applied_once(store: Store) -> None:
    """A second run applies what is new and nothing else; an ALTER run twice would fail."""
    assert await migrate(store, files=(ONE,)) == ("0001_one.cql",)
    assert await migrate(store, files=(ONE, TWO)) == ("0002_two.cql",)
    assert await migrate(store, files=(ONE, TWO)) == ()
    assert await store.execute("SELECT a, b FROM {keyspace}.one") == []


async def test_processes_that_start_at_once(store: Store) -> None:
    """Of five that migrate one new keyspace each file is applied by exactly one; all return when it is done."""
    others = [Store(store.settings) for _ in range(4)]
    done = await asyncio.gather(*(migrate(each, files=(ONE, TWO)) for each in (store, *others)))
    assert sorted(name for names in done for name in names) == ["0001_one.cql", "0002_two.cql"]
    for each in others:
        await each.stop()


async def test_a_changed_file_is_refused(store: Store) -> None:
    """A file that was applied and changed since is named: the change belongs into a new one."""
    await migrate(store, files=(ONE,))
    with pytest.raises(InvariantBroken, match=r"0001_one\.cql"):
        await migrate(store, files=(Migration(ONE.name, ONE.text + "-- changed"),))


async def test_a_lock_that_is_held_is_waited_for_and_no_longer(store: Store) -> None:
    """Who finds the lock taken by one that never lets go ends with an error in time."""
    await migrate(store, files=())
    await store.execute(_TAKE, (uuid.uuid4(), 60), is_idempotent=False)
    async with asyncio.timeout(20):
        with pytest.raises(CassandraUnavailable, match="another process"):
            await migrate(store, files=(ONE,), within_s=0.5)


async def test_our_own_files_apply(store: Store) -> None:
    """The schema of this tree is made on a new keyspace, and is complete then."""
    names = await migrate(store)
    assert names == tuple(each.name for each in migrations())
    assert names
    assert await migrate(store) == ()


def test_files_are_ordered_by_number(tmp_path: Path) -> None:
    """The names' numbers order the files."""
    for name in ("0002_b.cql", "0001_a.cql", "readme.txt"):
        (tmp_path / name).write_text("x")
    assert [each.name for each in migrations(tmp_path)] == ["0001_a.cql", "0002_b.cql"]


def test_statements_are_split_outside_of_quotes() -> None:
    """Semicolons and dashes inside of texts and names stay; comments go."""
    text = """-- first; comment
    INSERT INTO a (b) VALUES ('x;--y''z'); // end; of line
    CREATE TABLE "odd;name" (a int) ;
    ;"""
    assert statements(text) == ("INSERT INTO a (b) VALUES ('x;--y''z')", 'CREATE TABLE "odd;name" (a int)')
