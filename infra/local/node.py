"""Run one local program: claim its data, choose its ports, write its configuration, start it, ask it, stop it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from infra.local.cassandra import CassandraProgram
from infra.local.child import Child
from infra.local.data_dir import DataDir, Mark
from infra.local.download import load
from infra.local.errors import DataForeign, StartFailed
from infra.local.jars import classpath, read_lock
from infra.local.kafka import KafkaProgram
from infra.local.places import cache_dir
from infra.local.program import Place, Program, why_it_ended
from infra.local.resources import (
    LOOPBACK,
    available_mb,
    free_port,
    is_free,
    java,
    require_disk,
    require_memory,
    require_port,
    search_start,
)
from infra.local.settings import LocalSettings
from schemas.errors import ParleyError

ASK_EVERY_S: Final = 0.05


class LocalNode:
    """One Kafka or Cassandra on this machine.

    Args:
        program: what to run.
        data: its directory; its data survives a stop, and a kill loses nothing that was acknowledged.
        port: of the client listener; 0 = a free one, kept in the directory.
        heap_mb: most that the Java heap grows to.
        free_mb: how much memory is free, None where unknown.
    """

    def __init__(
        self,
        program: Program,
        data: Path,
        *,
        port: int = 0,
        heap_mb: int,
        settings: LocalSettings | None = None,
        free_mb: Callable[[], int | None] = available_mb,
    ) -> None:
        self.program = program
        self.ports: Mapping[str, int] = {}
        self._data = DataDir(data)
        self._port = port
        self._heap_mb = heap_mb
        self._settings = settings or LocalSettings()
        self._free_mb = free_mb
        self._child: Child | None = None

    @property
    def address(self) -> str:
        """`host:port` for clients; valid from `start` on."""
        return f"{LOOPBACK}:{self.ports[self.program.client_port]}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._child.pid if self._child is not None and self._child.returncode is None else None

    @property
    def log(self) -> Path:
        """What it prints."""
        return self._data.path / "log" / f"{self.program.name}.log"

    async def start(self) -> str:
        """Start it and return its address once it answers a real request.

        Loads jars that are missing. Cancelling it leaves nothing running; so does failing.

        Raises:
            ParleyError: one of infra.local.errors, in one line that says what to do.
        """
        program = self.program
        binary = java()
        locked = read_lock()[program.name]
        folder = cache_dir() / "jars"
        await load(program.title, locked.jars, folder, repository=self._settings.maven_url)
        require_memory(program.title, program.needed_mb, self._free_mb())
        require_disk(self._data.path, program.needed_disk_mb, program.title)
        mark = await asyncio.to_thread(self._data.claim, program.name)
        try:
            if mark is not None and mark.version.split(".")[0] != program.version.split(".")[0]:
                raise DataForeign(
                    f"{self._data.path} was written by {program.title} {mark.version}, this is {program.version}: "
                    "name another directory"
                )
            self.ports = self._choose_ports(mark)
            place = Place(
                root=self._data.path,
                java=binary,
                classpath=classpath(locked, folder),
                ports=self.ports,
                heap_mb=self._heap_mb,
            )
            # The mark comes first: a start broken off behind it finds a directory that it knows.
            self._data.write(Mark(program=program.name, version=program.version, ports=self.ports))
            self._write(program.files(place))
            await self._format(program.format_command(place))
            self._child = await self._run(program.command(place))
            await self._await_ready(self._child)
        except BaseException:
            await self.stop(limit_s=0)
            raise
        return self.address

    async def stop(self, limit_s: float | None = None) -> None:
        """End it cleanly, by force after the limit (default: the setting's), and give its directory up. Idempotent."""
        if self._child is not None:
            await self._child.stop(self._settings.stop_limit_s if limit_s is None else limit_s)
            self._child = None
        self._data.release()

    async def ended(self) -> ParleyError:
        """Return, when the process has ended, why it did. Safe to cancel."""
        if self._child is None:
            return StartFailed(f"{self.program.title} is not running")
        status = await self._child.wait()
        return why_it_ended(self.program.title, status, self._child.tail(), self.log)

    def _choose_ports(self, mark: Mark | None) -> dict[str, int]:
        """The ports of last time if they are free; a port that was asked for, or an error."""
        program = self.program
        kept = dict(mark.ports) if mark is not None else {}
        if self._port:
            require_port(LOOPBACK, self._port, program.title, f"[local] {program.name}_port")
            kept[program.client_port] = self._port
        start = search_start(self._data.path)
        chosen: dict[str, int] = {}
        for name in (program.client_port, *program.other_ports):
            port = kept.get(name, 0)
            chosen[name] = port if port and is_free(LOOPBACK, port) else free_port(start, frozenset(chosen.values()))
        return chosen

    def _write(self, files: Mapping[str, str]) -> None:
        for folder in ("conf", "data", "log", "tmp"):
            (self._data.path / folder).mkdir(exist_ok=True)
        for name, text in files.items():
            (self._data.path / "conf" / name).write_text(text, encoding="utf-8")

    async def _format(self, command: Sequence[str] | None) -> None:
        if command is None:
            return
        tool = await self._run(command)
        try:
            status = await tool.wait()
        finally:
            tool.kill_group()
        if status:
            raise why_it_ended(f"{self.program.title}'s storage tool", status, tool.tail(), self.log)

    async def _run(self, command: Sequence[str]) -> Child:
        return await Child.start(command, log=self.log, cwd=self._data.path, keep=[self._data.lock])

    async def _await_ready(self, child: Child) -> None:
        ended = asyncio.create_task(child.wait())
        try:
            async with asyncio.timeout(self._settings.start_limit_s):
                while not await self.program.answers(self.ports[self.program.client_port]):
                    await asyncio.wait([ended], timeout=ASK_EVERY_S)
                    if ended.done():
                        raise why_it_ended(self.program.title, ended.result(), child.tail(), self.log)
        except TimeoutError as error:
            limit = self._settings.start_limit_s
            raise StartFailed(f"{self.program.title} didn't answer within {limit:g} s: see {self.log}") from error
        finally:
            ended.cancel()


def local_kafka(data: Path, settings: LocalSettings | None = None) -> LocalNode:
    """Return a Kafka for that directory, not started."""
    settings = settings or LocalSettings()
    program = KafkaProgram(runs_long=settings.kafka_runs_long)
    return LocalNode(program, data, port=settings.kafka_port, heap_mb=settings.kafka_heap_mb, settings=settings)


def local_cassandra(data: Path, settings: LocalSettings | None = None) -> LocalNode:
    """Return a Cassandra for that directory, not started."""
    settings = settings or LocalSettings()
    return LocalNode(
        CassandraProgram(), data, port=settings.cassandra_port, heap_mb=settings.cassandra_heap_mb, settings=settings
    )
