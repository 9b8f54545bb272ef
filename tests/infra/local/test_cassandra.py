"""A real Cassandra: what was acknowledged is there after a stop and after a kill."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import WhiteListRoundRobinPolicy

from infra.local.cassandra import CassandraProgram
from infra.local.node import local_cassandra
from infra.local.program import Place

T = TypeVar("T")


def test_the_configuration_keeps_what_it_acknowledged() -> None:
    """The commit log is synced before the ack, and everything is on loopback."""
    place = Place(root=Path("/d e"), java=Path("/j/java"), classpath="a:b", ports={"cql": 1, "storage": 2}, heap_mb=300)
    text = CassandraProgram().files(place)["cassandra.yaml"]
    assert "commitlog_sync: group" in text
    assert "native_transport_port: 1\n" in text
    assert 'commitlog_directory: "/d e/data/commitlog"' in text
    command = CassandraProgram().command(place)
    # A URI: a space in the path must not end it.
    assert "-Dcassandra.config=file:///d%20e/conf/cassandra.yaml" in command
    assert CassandraProgram().format_command(place) is None


def with_session(address: str, work: Callable[[Session], T]) -> T:
    """Run blocking work on a session."""
    host, _, port = address.rpartition(":")
    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([host]), request_timeout=30)
    cluster = Cluster([host], port=int(port), protocol_version=5, execution_profiles={EXEC_PROFILE_DEFAULT: profile})
    try:
        return work(cluster.connect())
    finally:
        cluster.shutdown()


def insert(session: Session, first: int, count: int) -> None:
    """Write rows, each acknowledged."""
    pending = [session.execute_async("INSERT INTO k.t (id) VALUES (%s)", (i,)) for i in range(first, first + count)]
    for one in pending:
        one.result()


def prepare(session: Session) -> None:
    """Make the table and write the first rows."""
    session.execute("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    session.execute("CREATE TABLE k.t (id int PRIMARY KEY)")
    insert(session, 0, 300)


async def test_acknowledged_rows_outlive_a_stop_and_a_kill(tmp_path: Path) -> None:
    """A clean restart and a kill right behind the last ack both keep every row, at the same address."""
    node = local_cassandra(tmp_path / "with space")
    address = await node.start()
    try:
        await asyncio.to_thread(with_session, address, prepare)
        await node.stop()
        assert await node.start() == address
        pid = node.pid
        assert pid is not None

        def write_and_kill(session: Session) -> None:
            insert(session, 300, 300)
            os.kill(pid, signal.SIGKILL)

        await asyncio.to_thread(with_session, address, write_and_kill)
        await node.ended()
        await node.stop()
        await node.start()
        rows = await asyncio.to_thread(
            with_session, address, lambda s: sorted(row.id for row in s.execute("SELECT id FROM k.t"))
        )
        assert rows == list(range(600))
    finally:
        await node.stop(limit_s=5)
