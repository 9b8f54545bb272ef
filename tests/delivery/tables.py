"""A migrated keyspace, made in the brokers' own loop: many tests of other loops share it."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from infra.migrations.runner import migrate
from infra.runtime.cassandra import CassandraSettings, Store
from tests.support.brokers import LoopThread


@contextmanager
def migrated(cassandra: tuple[str, int], thread: LoopThread) -> Iterator[str]:
    """The keyspace's name; it is dropped behind."""
    host, port = cassandra
    keyspace = f"t{uuid.uuid4().hex[:10]}"
    settings = CassandraSettings(contact_points=(host,), port=port, keyspace=keyspace)
    thread.run(_made(settings))
    yield keyspace
    thread.run(_dropped(settings))


async def _made(settings: CassandraSettings) -> None:
    store = Store(settings)
    try:
        await migrate(store)
    finally:
        await store.stop()


async def _dropped(settings: CassandraSettings) -> None:
    store = Store(settings)
    try:
        await store.connected()
        await store.execute_plain(f"DROP KEYSPACE IF EXISTS {settings.keyspace}")
    finally:
        await store.stop()
