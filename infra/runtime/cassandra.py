"""One session to Cassandra on asyncio: prepared statements, bounded in flight, errors of ours.

The driver has threads of its own; each answer is handed to the loop. A service starts while the store is away: it
connects in the background, and until then every statement fails at once as `CassandraUnavailable`.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    ReadTimeout,
    RequestExecutionException,
    Unavailable,
    WriteTimeout,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    RetryPolicy,
    TokenAwarePolicy,
    WhiteListRoundRobinPolicy,
)
from cassandra.query import PreparedStatement, SimpleStatement, tuple_factory

from infra.runtime.cassandra_settings import CassandraSettings
from schemas.errors import CassandraUnavailable, InvariantBroken

__all__ = ["CassandraSettings", "Row", "Store"]

Row = tuple[Any, ...]
"""One row: its values in the order asked for. A lightweight transaction's first value says whether it was applied."""

_FIRST_BACKOFF_S: Final = 0.25
_LONGEST_BACKOFF_S: Final = 5.0

log = logging.getLogger(__name__)


class Store:
    """A lazily connected session. Safe to share between tasks.

    Statements name their tables in full, `{keyspace}.turns`, filled in here; a write that carries its record's time
    says `USING TIMESTAMP ?` itself, in microseconds.

    Args:
        settings: where the store is.
    """

    def __init__(self, settings: CassandraSettings) -> None:
        self.settings: Final = settings
        self._cluster: Cluster | None = None
        self._session: Session | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._prepared: dict[str, asyncio.Future[PreparedStatement]] = {}
        self._slots = asyncio.Semaphore(settings.in_flight)
        self._last_failure = "not connected yet"

    @property
    def is_connected(self) -> bool:
        """True once a session exists; single statements may still fail."""
        return self._session is not None

    @property
    def keyspace(self) -> str:
        """The keyspace that `{keyspace}` stands for in statements."""
        return self.settings.keyspace

    async def start(self) -> None:
        """Begin to connect in the background, trying again until `stop`. Returns at once."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._keep_connecting(), name="connect to Cassandra")

    async def connected(self, within_s: float = 60.0) -> None:
        """Wait for the session, beginning to connect when nobody has. Raises CassandraUnavailable."""
        await self.start()
        if self._connecting is None:
            raise InvariantBroken("connecting was begun and is not there")
        done, _ = await asyncio.wait({self._connecting}, timeout=within_s)
        if not done:
            raise CassandraUnavailable(f"Cassandra at {self._place}: {self._last_failure}")
        self._connecting.result()

    async def stop(self) -> None:
        """Disconnect. Idempotent."""
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            await asyncio.wait({connecting})
        cluster, self._cluster, self._session = self._cluster, None, None
        self._prepared.clear()
        if cluster is not None:
            await asyncio.to_thread(cluster.shutdown)

    async def execute(self, statement: str, parameters: Sequence[Any] = (), *, is_idempotent: bool = True) -> list[Row]:
        """Run one statement, prepared at its first use, and return all its rows.

        Args:
            statement: CQL with `?` for parameters and `{keyspace}` for the keyspace.
            parameters: in the order of the `?`.
            is_idempotent: False for what must not be tried twice, such as a lightweight transaction.

        Raises:
            CassandraUnavailable: the store is away or too slow; a write may have happened.
            InvariantBroken: the statement is wrong: a bug.
        """
        async with self._slots:
            session = self._live()
            prepared = await self._prepare(session, statement)
            bound = self._bound(prepared, statement, parameters)
            bound.is_idempotent = is_idempotent
            return await self._rows(session.execute_async(bound), statement)

    async def execute_plain(self, statement: str) -> list[Row]:
        """Run what can't be prepared, such as CREATE; bare names are the keyspace's. Raises as `execute`."""
        async with self._slots:
            session = self._live()
            # CREATE KEYSPACE runs before there is one to be in.
            keyspace = None if statement.upper().split()[1:2] == ["KEYSPACE"] else self.settings.keyspace
            plain = SimpleStatement(self._filled(statement), keyspace=keyspace)
            # Schema changes wait for every node to agree; they are rare and may take longer than a row.
            return await self._rows(
                session.execute_async(plain, timeout=6 * self.settings.request_timeout_s), statement
            )

    async def _prepare(self, session: Session, statement: str) -> PreparedStatement:
        """The prepared statement; callers at the same time share the preparing, a failed one is forgotten."""
        future = self._prepared.get(statement)
        if future is None:
            future = asyncio.ensure_future(asyncio.to_thread(session.prepare, self._filled(statement)))
            self._prepared[statement] = future
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if self._prepared.get(statement) is future:
                del self._prepared[statement]
            raise _ours(error, statement) from error

    @staticmethod
    def _bound(prepared: PreparedStatement, statement: str, parameters: Sequence[Any]) -> Any:
        try:
            return prepared.bind(parameters)
        except (TypeError, ValueError, KeyError) as error:
            raise InvariantBroken(f"parameters don't fit {_short(statement)}: {error}") from error

    async def _rows(self, response: Any, statement: str) -> list[Row]:
        loop = asyncio.get_running_loop()
        rows: list[Row] = []
        while True:
            page = await _first_page(loop, response, statement)
            rows += page or ()
            if not response.has_more_pages:
                return rows
            # One page arrives per callback; the next is asked for here.
            response.clear_callbacks()
            response.start_fetching_next_page()

    async def _keep_connecting(self) -> None:
        backoff_s = _FIRST_BACKOFF_S
        while True:
            cluster = self._described()
            try:
                self._session = await asyncio.to_thread(cluster.connect)
            except (DriverException, NoHostAvailable, OSError) as error:
                self._last_failure = _why(error)
                log.warning("Cassandra at %s doesn't answer yet: %s", self._place, self._last_failure)
                await asyncio.to_thread(cluster.shutdown)
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
            except asyncio.CancelledError:
                # The thread that connects can't be stopped; its cluster is shut behind it.
                asyncio.get_running_loop().run_in_executor(None, cluster.shutdown)
                raise
            else:
                self._cluster = cluster
                log.info("connected to Cassandra at %s", self._place)
                return

    def _described(self) -> Cluster:
        settings = self.settings
        if settings.datacenter is None:
            # Contact points without a policy warn now and will be refused; all of them are equally near.
            nodes: Any = WhiteListRoundRobinPolicy(list(settings.contact_points))
        else:
            nodes = TokenAwarePolicy(DCAwareRoundRobinPolicy(local_dc=settings.datacenter))
        profile = ExecutionProfile(
            load_balancing_policy=nodes,
            retry_policy=RetryPolicy(),
            consistency_level=ConsistencyLevel.LOCAL_QUORUM,
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
            request_timeout=settings.request_timeout_s,
            row_factory=tuple_factory,
        )
        password = settings.password or ""
        return Cluster(
            list(settings.contact_points),
            port=settings.port,
            # Asyncio's connection breaks with protocol 5 ("CRC mismatch"); libev's does not.
            connection_class=LibevConnection,
            protocol_version=5,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            auth_provider=None if settings.username is None else PlainTextAuthProvider(settings.username, password),
            # The driver's own policy waits up to ten minutes for a node that has long come back, and this one gives a
            # node up for ever after 64 attempts unless told otherwise: that was an outage of five minutes.
            reconnection_policy=ExponentialReconnectionPolicy(_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S, max_attempts=None),
            connect_timeout=settings.request_timeout_s,
        )

    @property
    def _place(self) -> str:
        return f"{','.join(self.settings.contact_points)}:{self.settings.port}"

    def _live(self) -> Session:
        if self._session is None:
            raise CassandraUnavailable(f"Cassandra at {self._place}: {self._last_failure}")
        return self._session

    def _filled(self, statement: str) -> str:
        return statement.replace("{keyspace}", self.settings.keyspace)


async def _first_page(loop: asyncio.AbstractEventLoop, response: Any, statement: str) -> list[Row]:
    answered: asyncio.Future[list[Row]] = loop.create_future()

    def settle(rows: list[Row] | None, error: BaseException | None) -> None:
        if answered.done():
            return
        if error is None:
            answered.set_result(rows or [])
        else:
            answered.set_exception(_ours(error, statement))

    def hand_over(rows: list[Row] | None, error: BaseException | None) -> None:
        # A loop that has ended has nobody left to tell.
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, rows, error)

    response.add_callbacks(lambda rows: hand_over(rows, None), lambda error: hand_over(None, error))
    return await answered


def _ours(error: BaseException, statement: str) -> Exception:
    what = f"{_short(statement)}: {_why(error)}"
    away = (Unavailable, ReadTimeout, WriteTimeout, OperationTimedOut, NoHostAvailable, OSError)
    # Asked before the migrations have run: theirs to mend, not a wrong statement.
    not_yet = isinstance(error, InvalidRequest) and ("unconfigured table" in what or "does not exist" in what)
    if isinstance(error, away) or not_yet:
        return CassandraUnavailable(what)
    if isinstance(error, (InvalidRequest, AuthenticationFailed, TypeError, ValueError)):
        return InvariantBroken(what)
    if isinstance(error, (RequestExecutionException, DriverException)):
        return CassandraUnavailable(what)
    return InvariantBroken(what)


def _why(error: BaseException) -> str:
    """The error in one line; of a list of nodes that all failed, the first one's."""
    if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict) and error.errors:
        error = next(iter(error.errors.values()))
    return str(error).partition("Last error: ")[2] or str(error) or type(error).__name__


def _short(statement: str) -> str:
    words = " ".join(statement.split())
    return words if len(words) <= 80 else words[:79] + "…"  # noqa: PLR2004 - one line of a log
