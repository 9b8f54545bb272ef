"""One supervised process, whatever it is: started, asked whether it is ready, started again when it ends by itself."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import aiohttp

from infra.cli.supervision.backoff import Backoff
from infra.cli.supervision.plan import ServicePlan
from infra.cli.supervision.state import Phase, Process
from infra.local.child import Child
from infra.local.errors import StartFailed
from infra.local.node import LocalNode
from infra.local.program import why_it_ended
from schemas import codec
from schemas.errors import ContractError, ParleyError, SettingsError

ASK_EVERY_S: Final = 0.1
ASK_LIMIT: Final = aiohttp.ClientTimeout(total=2.0)
WRONG_SETTINGS: Final = 2
OK: Final = 200


class Part(Protocol):
    """What a supervisor holds: a broker or a service."""

    @property
    def name(self) -> str:
        """Its name in `parley ps`."""

    @property
    def role(self) -> str:
        """Its role there."""

    @property
    def pid(self) -> int | None:
        """While it runs."""

    @property
    def ports(self) -> Mapping[str, int]:
        """By name."""

    async def start(self) -> None:
        """Start it and return when it does its work. Raises ParleyError if it ended before."""

    async def ended(self) -> ParleyError:
        """Return, when it has ended, why."""

    async def stop(self, limit_s: float) -> None:
        """End it, by force after the limit. Idempotent."""


class BrokerPart:
    """Kafka or Cassandra. `ps` shows the port that clients use."""

    def __init__(self, node: LocalNode) -> None:
        self.node = node
        self.name = self.role = node.program.name

    @property
    def pid(self) -> int | None:
        """While it runs."""
        return self.node.pid

    @property
    def ports(self) -> Mapping[str, int]:
        """The clients' one."""
        shown = self.node.program.client_port
        return {shown: self.node.ports[shown]} if shown in self.node.ports else {}

    async def start(self) -> None:
        """Start it and return when it answers."""
        await self.node.start()

    async def ended(self) -> ParleyError:
        """Return, when it has ended, why; its data is free then."""
        error = await self.node.ended()
        await self.node.stop()
        return error

    async def stop(self, limit_s: float) -> None:
        """End it."""
        await self.node.stop(limit_s)


class ServicePart:
    """A service of ours.

    Args:
        plan: what it is.
        command: how it is started.
        environment: all of it.
        folder: for its log.
        lock: the descriptor of the data directory's lock, which it inherits.
        limit_s: a service that isn't ready by then is left running, and said to be late.
    """

    def __init__(
        self, plan: ServicePlan, command: list[str], environment: Mapping[str, str], folder: Path, lock: int
    ) -> None:
        self.name = plan.name
        self.role = plan.role
        self.ports = plan.ports
        self._plan = plan
        self._command = command
        self._environment = environment
        self._lock = lock
        self.log = folder / f"{plan.name}.log"
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """While it runs."""
        return self._child.pid if self._child is not None and self._child.returncode is None else None

    async def start(self) -> None:
        """Start it and return when /readyz says 200.

        Raises:
            SettingsError: it refused its settings; the lines are its own.
            ParleyError: it ended otherwise.
        """
        self._child = await Child.start(self._command, log=self.log, environment=self._environment, keep=[self._lock])
        ended = asyncio.create_task(self._child.wait())
        try:
            async with aiohttp.ClientSession(timeout=ASK_LIMIT) as session:
                while not await self._is_ready(session):
                    await asyncio.wait([ended], timeout=ASK_EVERY_S)
                    if ended.done():
                        raise self._why(ended.result())
        finally:
            ended.cancel()

    async def ended(self) -> ParleyError:
        """Return, when it has ended, why."""
        if self._child is None:
            return StartFailed(f"{self.name} is not running")
        status = await self._child.wait()
        self._child.kill_group()
        return self._why(status)

    async def stop(self, limit_s: float) -> None:
        """End it and what it started."""
        if self._child is not None:
            await self._child.stop(limit_s)

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(self._plan.ready_url) as answer:
                return answer.status == OK
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def _why(self, status: int) -> ParleyError:
        tail = self._child.tail() if self._child is not None else ""
        if status == WRONG_SETTINGS:
            told = [line.removeprefix("parley: ") for line in tail.splitlines() if line.startswith("parley: ")]
            return SettingsError("\n".join(told[-20:]) or f"{self.name} refused its settings: see {self.log}")
        error = why_it_ended(self.name, status, tail, self.log)
        return StartFailed(f"{error}: {_last_words(tail)}") if type(error) is StartFailed and tail else error


def _last_words(tail: str) -> str:
    """The last line of a log: its message and error, if it is one of our JSON lines."""
    line = tail.splitlines()[-1]
    try:
        told = codec.parse(line)
    except ContractError:
        return line
    if not isinstance(told, dict):
        return line
    return ": ".join(str(told[key]) for key in ("message", "error") if key in told) or line


class Watched:
    """A part under supervision: `run` keeps it alive until `stop`.

    Args:
        part: what to keep alive.
        say: tells the person a line.
        changed: called when a row of `ps` has changed.
    """

    def __init__(self, part: Part, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        self.part = part
        self.phase = Phase.STARTING
        self._say = say
        self._changed = changed
        self._keeping: asyncio.Task[None] | None = None

    @property
    def row(self) -> Process:
        """Its row of `ps`."""
        part = self.part
        return Process(name=part.name, role=part.role, pid=part.pid, ports=part.ports, state=self.phase)

    async def start(self) -> None:
        """Start it for the first time, then keep it alive in the background. Raises what its start raises."""
        self._enter(Phase.STARTING)
        starting = asyncio.create_task(self.part.start())
        # The process exists some ms before it is ready: `ps` shows its pid meanwhile.
        await asyncio.wait([starting], timeout=ASK_EVERY_S)
        self._changed()
        try:
            await starting
        except asyncio.CancelledError:
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError, ParleyError):
                await starting
            raise
        self._enter(Phase.READY)
        self._keeping = asyncio.create_task(self._keep(), name=f"keep {self.part.name}")

    async def stop(self, limit_s: float) -> None:
        """End it for good. Idempotent; cancelling kills it."""
        if self.phase is not Phase.ENDED:
            self._enter(Phase.STOPPING)
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])
        await self.part.stop(limit_s)
        self._enter(Phase.ENDED)

    async def _keep(self) -> None:
        """Start it again whenever it ends, for ever: what is wrong may be mended meanwhile."""
        backoff = Backoff()
        error, ran_s = await self._ended()
        while True:
            backoff, wait_s = backoff.ended(ran_s)
            self._enter(Phase.WAITING)
            first_line = str(error).splitlines()[0]
            self._say(f"{first_line}; starting {self.part.name} again in {wait_s:g} s")
            await asyncio.sleep(wait_s)
            self._enter(Phase.STARTING)
            try:
                await self.part.start()
            except ParleyError as failed:
                error, ran_s = failed, 0.0
                continue
            self._enter(Phase.READY)
            self._say(f"{self.part.name} is back (pid {self.part.pid})")
            error, ran_s = await self._ended()

    async def _ended(self) -> tuple[ParleyError, float]:
        """Why it ended, and how many seconds it had worked by then."""
        ready_at = time.monotonic()
        error = await self.part.ended()
        return error, time.monotonic() - ready_at

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._changed()
