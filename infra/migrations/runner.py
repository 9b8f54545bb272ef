"""Applies the numbered CQL files that a keyspace lacks, in order, once, whoever starts at the same time.

Who migrates holds a lock: a row made by a lightweight transaction that expires with its owner. A file may be cut off by
a crash and be run again: each of its statements is written to be repeatable (`IF NOT EXISTS`).
"""

import asyncio
import hashlib
import logging
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.runtime.cassandra import Store
from schemas.errors import CassandraUnavailable, InvariantBroken

# 60 s: many times what a file takes; renewed before each one.
_LOCK_TTL_S: Final = 60
_POLL_S: Final = 0.2

_KEYSPACE: Final = (
    "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {'class': '%s', '%s': %d} AND durable_writes = true"
)
_APPLIED: Final = (
    "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, sha256 text, applied_at timestamp)"
    " WITH comment = 'CQL files of infra/migrations that this keyspace has'"
)
_LOCKS: Final = (
    "CREATE TABLE IF NOT EXISTS migration_locks (name text PRIMARY KEY, owner uuid)"
    " WITH comment = 'held by the one process that migrates; expires with it'"
)
_TAKE: Final = "INSERT INTO {keyspace}.migration_locks (name, owner) VALUES ('migrations', ?) IF NOT EXISTS USING TTL ?"
_RENEW: Final = "UPDATE {keyspace}.migration_locks USING TTL ? SET owner = ? WHERE name = 'migrations' IF owner = ?"
_RELEASE: Final = "DELETE FROM {keyspace}.migration_locks WHERE name = 'migrations' IF owner = ?"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its name, which orders it, and its text."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Tells a file that was changed after it was applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations(directory: Path = Path(__file__).parent) -> tuple[Migration, ...]:
    """The files of the directory, in the order of their numbers."""
    return tuple(Migration(file.name, file.read_text(encoding="utf-8")) for file in sorted(directory.glob("*.cql")))


async def migrate(
    store: Store, *, files: tuple[Migration, ...] | None = None, within_s: float = 120.0
) -> tuple[str, ...]:
    """Bring the store's keyspace up to date and return the names of the files applied now.

    Args:
        store: started or connected.
        files: None takes those beside this module.
        within_s: how long another process's migration and the store itself are waited for.

    Raises:
        CassandraUnavailable: the store is away, or another process holds the lock for too long.
        InvariantBroken: a file that was applied has been changed since.
    """
    wanted = migrations() if files is None else files
    deadline = time.monotonic() + within_s
    await store.connected(within_s)
    await _prepare_keyspace(store, deadline)
    owner = uuid.uuid4()
    await _lock(store, owner, deadline)
    try:
        return await _apply(store, wanted, owner)
    finally:
        await store.execute(_RELEASE, (owner,), is_idempotent=False)


async def _prepare_keyspace(store: Store, deadline: float) -> None:
    settings = store.settings
    if settings.datacenter is None:
        place = ("SimpleStrategy", "replication_factor", settings.replication_factor)
    else:
        place = ("NetworkTopologyStrategy", settings.datacenter, settings.replication_factor)
    # Asked first: CREATE needs a right that a running service may well lack.
    known = await store.execute(
        "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?", (settings.keyspace,)
    )
    if not known:
        await store.execute_plain(_KEYSPACE % place)
    for statement in (_APPLIED, _LOCKS):
        await _executed(store, statement, deadline)


async def _executed(store: Store, statement: str, deadline: float) -> None:
    """Run it; a keyspace that another process makes at this moment is listed a little before it can be used."""
    while True:
        try:
            await store.execute_plain(statement)
        except CassandraUnavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_POLL_S)
        else:
            return


async def _lock(store: Store, owner: uuid.UUID, deadline: float) -> None:
    while True:
        [row] = await store.execute(_TAKE, (owner, _LOCK_TTL_S), is_idempotent=False)
        if row[0]:
            return
        if time.monotonic() > deadline:
            raise CassandraUnavailable(f"another process has been migrating {store.keyspace} for too long")
        await asyncio.sleep(_POLL_S)


async def _apply(store: Store, wanted: tuple[Migration, ...], owner: uuid.UUID) -> tuple[str, ...]:
    known: dict[str, str] = dict(await store.execute("SELECT name, sha256 FROM {keyspace}.migrations"))
    applied: list[str] = []
    for each in wanted:
        if each.name in known:
            if known[each.name] != each.sha256:
                raise InvariantBroken(f"{each.name} was applied to {store.keyspace} and changed since: add a new file")
            continue
        [row] = await store.execute(_RENEW, (_LOCK_TTL_S, owner, owner), is_idempotent=False)
        if not row[0]:
            raise CassandraUnavailable(f"the lock for migrating {store.keyspace} was lost: start again")
        for statement in statements(each.text):
            await store.execute_plain(statement)
        await store.execute(
            "INSERT INTO {keyspace}.migrations (name, sha256, applied_at) VALUES (?, ?, toTimestamp(now()))",
            (each.name, each.sha256),
        )
        log.info("applied %s to keyspace %s", each.name, store.keyspace)
        applied.append(each.name)
    return tuple(applied)


def statements(text: str) -> tuple[str, ...]:
    """The CQL statements of a file: split at `;` outside of quotes, `--` and `//` comments dropped."""
    found: list[str] = []
    current: list[str] = []
    quote: str | None = None
    at = 0
    while at < len(text):
        char = text[at]
        if quote is None and text.startswith(("--", "//"), at):
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        if quote is None and char == ";":
            found.append("".join(current).strip())
            current = []
        else:
            # A doubled quote inside a string closes it and opens it again at once: the same as staying inside.
            if char in "'\"":
                quote = char if quote is None else None if quote == char else quote
            current.append(char)
        at += 1
    found.append("".join(current).strip())
    return tuple(statement for statement in found if statement)
