"""`parley up` from the inside: brokers first, then topics, tables and what must be published, then every service.

It owns the data directory; everything it starts is tied to it and dies with it. Whatever ends by itself is started
again. The first Ctrl-C or SIGTERM ends all in order, the second one at once.
"""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.cli.supervision.plan import Options, ServicePlan, names, plan
from infra.cli.supervision.preparation import Preparation
from infra.cli.supervision.secret_file import read_secret, write_secret
from infra.cli.supervision.state import STATE_FILE, State, remove_state, write_state
from infra.cli.supervision.watched import BrokerPart, ServicePart, Watched
from infra.local.data_dir import DataDir, Mark
from infra.local.node import LocalNode, local_cassandra, local_kafka
from infra.local.resources import free_port, require_port, search_start
from infra.local.settings import LocalSettings
from infra.runtime.cassandra import CassandraSettings
from infra.runtime.kafka import KafkaSettings
from infra.runtime.service import ServiceSettings
from infra.runtime.settings import SettingsSource, describe

# Other commands must find the same names there, also from a shell that doesn't say them.
SHARED: Final[tuple[tuple[str, type[Any]], ...]] = (("kafka", KafkaSettings), ("cassandra", CassandraSettings))
PROGRAM: Final = "parley"
DATA_VERSION: Final = "1"
LOG_FOLDER: Final = "log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Up:
    """One `parley up`.

    Args:
        data: its directory.
        options: what it consists of.
        source: settings; `config` is the file they come from.
        starts_kafka, starts_cassandra: False where the settings name others.
    """

    data: Path
    options: Options
    source: SettingsSource
    config: Path | None
    starts_kafka: bool
    starts_cassandra: bool


class Supervisor:
    """Runs one `Up` until it is told to end.

    Args:
        up: what to run.
        say: tells the person a line.
    """

    def __init__(self, up: Up, say: Callable[[str], None]) -> None:
        self._up = up
        self._say = say
        # A detached `up` writes its log there before the directory is claimed.
        self._data = DataDir(up.data, known=(LOG_FOLDER,))
        self._local = up.source.read(LocalSettings, "local")
        self._drain_s = up.source.read(ServiceSettings, "service").drain_s
        self._watched: list[Watched] = []
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._is_ready = False
        self._settings = _given(up.source)

    async def run(self) -> int:
        """Start all, keep all alive, end all. Returns the exit status.

        Raises:
            ParleyError: it could not be started; whatever was started has ended again.
        """
        mark = await asyncio.to_thread(self._data.claim, PROGRAM)
        try:
            if mark is None:
                self._data.write(Mark(program=PROGRAM, version=DATA_VERSION, ports={}))
            self._listen_to_signals()
            return await self._live()
        finally:
            remove_state(self._up.data)
            self._data.release()

    async def _live(self) -> int:
        starting = asyncio.create_task(self._start())
        asked = asyncio.create_task(self._asked.wait())
        both: set[asyncio.Task[Any]] = {starting, asked}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await asked
            self._say("Ending …")
            return 0
        finally:
            asked.cancel()
            starting.cancel()
            await asyncio.wait([starting])
            with suppress(asyncio.CancelledError):
                starting.exception()
            await self._end()

    async def _start(self) -> None:
        options = self._up.options
        require_port(options.host, options.port, "the page", "--port")
        require_port(options.stream_host, options.stream_port, "the stream", "--stream-port")
        await self._start_brokers()
        secrets_made = self._secrets()
        prepared = Preparation(self._source(), self._up.data, options, self._say)
        await prepared.run()
        self._save()
        services = plan(options, self._metrics_ports(), {**self._environment(), **secrets_made}, self._up.data)
        self._say(f"Starting {len(services)} services")
        await self._start_all(Watched(self._service(each), self._say, self._save) for each in services)
        self._is_ready = True
        self._save()
        self._announce()

    async def _start_brokers(self) -> None:
        nodes: list[LocalNode] = []
        if self._up.starts_kafka:
            nodes.append(local_kafka(self._up.data / "kafka", self._local))
        if self._up.starts_cassandra:
            nodes.append(local_cassandra(self._up.data / "cassandra", self._local))
        if nodes:
            self._say(f"Starting {' and '.join(node.program.title for node in nodes)}")
        await self._start_all(Watched(BrokerPart(node), self._say, self._save) for node in nodes)
        for node in nodes:
            host, _, port = node.address.rpartition(":")
            if node.program.name == "kafka":
                self._settings["kafka.bootstrap"] = node.address
            else:
                self._settings |= {"cassandra.contact_points": host, "cassandra.port": port}

    async def _start_all(self, parts: Iterable[Watched]) -> None:
        """Start them side by side; the first that fails ends the attempt, and `_end` ends the rest."""
        starting = list(parts)
        self._watched += starting
        tasks = [asyncio.create_task(each.start()) for each in starting]
        try:
            for done in asyncio.as_completed(tasks):
                await done
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            for task in tasks:
                # Looked at, so that a second failure isn't reported as forgotten.
                if not task.cancelled():
                    task.exception()

    async def _end(self) -> None:
        """Gateways first, so that nothing new is accepted; then what carries turns; the brokers when nobody writes."""
        groups = (
            ("gateway",),
            ("delivery", "moderation", "enrichment", "inference", "persistence"),
            ("kafka", "cassandra"),
        )
        for roles in groups:
            group = [each for each in self._watched if each.part.role in roles]
            limit_s = self._local.stop_limit_s if "kafka" in roles else self._drain_s + 5
            if not group:
                continue
            await self._stop_all(group, limit_s)

    async def _stop_all(self, group: list[Watched], limit_s: float) -> None:
        """End them side by side; when the person is in a hurry, by force."""
        ending = asyncio.create_task(self._stop_each(group, limit_s))
        hurry = asyncio.create_task(self._hurry.wait())
        both: set[asyncio.Task[Any]] = {ending, hurry}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not ending.done():
            ending.cancel()
            await asyncio.wait([ending])
            await self._stop_each(group, 0)

    @staticmethod
    async def _stop_each(group: list[Watched], limit_s: float) -> None:
        await asyncio.gather(*(each.stop(limit_s) for each in group))

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._asked.is_set():
            self._hurry.set()
        self._asked.set()

    def _secrets(self) -> dict[str, str]:
        """What the services trust each other by: made once, kept for the owner's eyes."""
        if self._up.source.gives("internal", "token"):
            return {}
        file = self._up.data / "internal-token"
        if not file.exists():
            write_secret(file, secrets.token_urlsafe(32))
        self._settings["internal.token"] = read_secret(file)
        return {"PARLEY_INTERNAL_TOKEN_FILE": str(file)}

    def _environment(self) -> dict[str, str]:
        return {
            "PARLEY_" + key.upper().replace(".", "_"): text
            for key, text in self._settings.items()
            if not key.startswith("internal.")
        }

    def _source(self) -> SettingsSource:
        """The settings as they are now that the brokers' addresses are known."""
        return self._up.source.filled(self._settings)

    def _metrics_ports(self) -> Mapping[str, int]:
        ports: dict[str, int] = {}
        start = search_start(self._up.data)
        for name, _ in names(self._up.options):
            taken = frozenset(ports.values()) | {self._up.options.port, self._up.options.stream_port}
            ports[name] = free_port(start, taken)
        return ports

    def _service(self, service: ServicePlan) -> ServicePart:
        command = [sys.executable, "-m", "infra.cli.main", "run", service.role, "--data", str(self._up.data)]
        if self._up.config is not None:
            command += ["--config", str(self._up.config)]
        return ServicePart(
            service,
            command,
            {**os.environ, **service.environment},
            self._up.data / LOG_FOLDER,
            self._data.lock,
        )

    def _save(self) -> None:
        """Tell the other commands how things are; a full disk doesn't end what runs."""
        try:
            write_state(self._up.data, self._state())
        except OSError as error:
            self._say(
                f"Warning: {self._up.data / STATE_FILE} can't be written ({error.strerror}): `parley ps` lags behind"
            )

    def _state(self) -> State:
        options = self._up.options
        return State(
            pid=os.getpid(),
            is_ready=self._is_ready,
            page=options.page,
            base_url=options.base_url,
            stream_url=options.stream_url,
            key_file=str(self._up.data / "key"),
            config=None if self._up.config is None else str(self._up.config),
            settings=self._settings,
            processes=tuple(each.row for each in self._watched),
        )

    def _announce(self) -> None:
        options = self._up.options
        key = read_secret(self._up.data / "key")
        self._say(
            "\n".join(
                [
                    "",
                    "Parley is up: a message can be sent.",
                    # The page keeps the key and takes it out of the address bar.
                    f"  page      {options.page}#key={key}",
                    f"  base URL  {options.base_url}",
                    f"  stream    {options.stream_url}",
                    f"  key       {key}",
                    f"  engine    {options.engine}",
                    f"  data      {self._up.data}",
                    f"`parley chat --data {self._up.data}` talks to it;",
                    f"Ctrl-C or `parley down --data {self._up.data}` ends all of it.",
                ]
            )
        )


def _given(source: SettingsSource) -> dict[str, str]:
    """What somebody set of Kafka's and Cassandra's sections, but for secrets: `section.key` to text."""
    given = {}
    for section, kind in SHARED:
        settings = source.read(kind, section)
        for row in describe(kind, section):
            if not row.secret and source.gives(section, row.key):
                value = getattr(settings, row.key)
                given[f"{section}.{row.key}"] = ",".join(value) if isinstance(value, tuple) else str(value)
    return given
