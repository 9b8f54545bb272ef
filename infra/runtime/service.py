"""A service's life: start, be asked for health and metrics, drain at the first SIGTERM or Ctrl-C, end at the second.

Each `main.py` builds a `Service` and awaits `serve`; `run_service` is the root of a process: the one broad `except`.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import uvloop
from aiohttp import web

from infra.runtime.logs import LogSettings, configure
from infra.runtime.metrics import CONTENT_TYPE, Metrics
from infra.runtime.settings import SettingsSource
from schemas import codec
from schemas.errors import CallerError, SettingsError

# What is left after draining is closing connections: a store or broker that hangs then is left behind.
_STOP_S: Final = 5.0
# Records and frames are freed as they are let go, without a cycle: looking for cycles every 700 objects, Python's
# default, took 28 % of a delivery node's CPU at 5 000 records/s (`bench_centrifugo`).
_GC_THRESHOLDS: Final = (50_000, 20, 10)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """The `[service]` section: what every role has."""

    host: str = field(default="127.0.0.1", metadata={"doc": "address that a service's ports listen on"})
    metrics_port: int = field(default=0, metadata={"doc": "port of /healthz, /readyz and /metrics; 0: any free one"})
    drain_s: float = field(
        # 25 s: below the 30 s after which Kubernetes kills.
        default=25.0,
        metadata={"doc": "seconds that work under way may take after SIGTERM"},
    )

    def __post_init__(self) -> None:
        """Refuse what can't be listened on."""
        if not 0 <= self.metrics_port < 65536:  # noqa: PLR2004 - TCP ports
            raise ValueError(f"metrics_port: {self.metrics_port} is not a TCP port")
        if self.drain_s < 0:
            raise ValueError("drain_s: must be 0 or more")


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a service can do its work.

    Args:
        ok: False answers /readyz with 503: send nothing here.
        degraded: what is away, in words, also when `ok`: an outage that every replica shares takes none of them out.
    """

    ok: bool
    degraded: tuple[str, ...] = ()


class Service(Protocol):
    """What `serve` runs. It may also have `async def watch(self)`, which raises when the service can't go on."""

    @property
    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """More routes for the metrics port: internal calls between services."""

    async def start(self) -> None:
        """Begin to work; returns when it has begun. A dependency that is away makes it degraded, not fail."""

    async def drain(self) -> None:
        """Take nothing new and finish what is under way; may be cut off after `drain_s`."""

    async def stop(self) -> None:
        """Let go of everything. Called once, also after a failed start."""

    def readiness(self) -> Readiness:
        """Asked by /readyz."""


async def serve(
    service: Service,
    *,
    role: str,
    host: str = "127.0.0.1",
    metrics_port: int = 0,
    drain_s: float = 25.0,
    metrics: Metrics | None = None,
) -> None:
    """Run the service until SIGTERM or SIGINT, then drain and stop it. A second signal ends the process at once.

    Args:
        service: built, not started.
        role: for logs and `parley_build_info`.
        host: address of the metrics port.
        metrics_port: 0 takes any free one.
        drain_s: seconds until draining is cut off.
        metrics: the registry the service counts into; None makes one.

    Raises:
        SettingsError: the port is taken.
        Exception: whatever `start` or `watch` raised, after the service was stopped.
    """
    life = _Life(service, role, metrics or Metrics(role))
    await life.run(host, metrics_port, drain_s)


class _Life:
    """One run of `serve`."""

    def __init__(self, service: Service, role: str, metrics: Metrics) -> None:
        self._service = service
        self._role = role
        self._metrics = metrics
        self._asked_to_stop = asyncio.Event()
        self._phase = "starting"

    async def run(self, host: str, port: int, drain_s: float) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        runner = web.AppRunner(self._app(), access_log=None)
        try:
            await runner.setup()
            await listen(runner, host, port)
            await self._work(drain_s)
        finally:
            await runner.cleanup()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def _work(self, drain_s: float) -> None:
        asked = asyncio.create_task(self._asked_to_stop.wait())
        try:
            started = await _first(self._service.start(), asked)
            if started:
                self._phase = "ready"
                log.info("%s is up", self._role)
                await _first(_watched(self._service), asked)
                self._phase = "draining"
                log.info("%s is draining for up to %g s", self._role, drain_s)
                await self._drained(drain_s)
        finally:
            asked.cancel()
            await self._stopped()

    async def _drained(self, drain_s: float) -> None:
        try:
            async with asyncio.timeout(drain_s):
                await self._service.drain()
        except TimeoutError:
            log.warning("%s was cut off: its work under way took longer than %g s", self._role, drain_s)

    async def _stopped(self) -> None:
        try:
            async with asyncio.timeout(_STOP_S):
                await self._service.stop()
        except TimeoutError:
            log.warning("%s left connections behind that didn't close within %g s", self._role, _STOP_S)
        else:
            log.info("%s has stopped", self._role)

    def _on_signal(self, number: int) -> None:
        if self._asked_to_stop.is_set():
            log.warning("%s ends at once", self._role)
            sys.stderr.flush()
            os._exit(128 + number)
        self._asked_to_stop.set()

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._exposition)
        app.router.add_routes(self._service.routes)
        return app

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _answer(200, {"status": "ok", "role": self._role})

    async def _readyz(self, _request: web.Request) -> web.Response:
        if self._phase != "ready":
            return _answer(503, {"status": self._phase, "role": self._role, "degraded": []})
        now = self._service.readiness()
        status = "unavailable" if not now.ok else "degraded" if now.degraded else "ok"
        return _answer(200 if now.ok else 503, {"status": status, "role": self._role, "degraded": list(now.degraded)})

    async def _exposition(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})


async def listen(runner: web.AppRunner, host: str, port: int, *, is_shared: bool = False) -> int:
    """Listen with a set-up runner and return the port. Raises SettingsError when it is taken or not ours.

    Args:
        is_shared: other processes may listen on the same port: the kernel spreads connections over them.
    """
    try:
        await web.TCPSite(runner, host, port, reuse_port=is_shared or None).start()
    except OSError as error:
        raise SettingsError(f"can't listen on {host}:{port}: {error.strerror or error}; choose another port") from error
    return int(runner.addresses[0][1])


async def _watched(service: Service) -> None:
    watch: Callable[[], Coroutine[Any, Any, None]] | None = getattr(service, "watch", None)
    if watch is None:
        await asyncio.Event().wait()
    else:
        await watch()


async def _first(work: Coroutine[Any, Any, None], asked: "asyncio.Task[bool]") -> bool:
    """Run the work until it ends or a stop is asked for; True when it ended. Raises what it raised."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        return False
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


def _answer(status: int, body: dict[str, object]) -> web.Response:
    return web.Response(status=status, body=codec.encode(body), content_type="application/json")


def run_service(
    run: Callable[[SettingsSource], Coroutine[Any, Any, None]],
    source: SettingsSource,
    role: str,
    *,
    with_uvloop: bool = True,
) -> int:
    """Run a `main.run` as the whole of this process and return its exit status: 0, 1 failed, 2 wrong settings.

    An error is told in one line; its traceback only at the log level `debug`.
    """
    try:
        configure(source.read(LogSettings, "log"), role)
        gc.set_threshold(*_GC_THRESHOLDS)
        if with_uvloop:
            uvloop.run(_guarded(run, source))
        else:
            asyncio.run(_guarded(run, source))
    except SettingsError as error:
        return wrong_settings(error)
    except KeyboardInterrupt:
        return 130
    except Exception:
        # The one broad except of a process: nothing is above it that could act. The line names the error.
        log.exception("%s has failed", role)
        return 1
    return 0


def wrong_settings(error: CallerError) -> int:
    """Print each fault in a line of its own and return the exit status for it."""
    for line in str(error).splitlines():
        print(f"parley: {line}", file=sys.stderr)  # noqa: T201 - meant for the person who started it
    return 2


async def _guarded(run: Callable[[SettingsSource], Coroutine[Any, Any, None]], source: SettingsSource) -> None:
    asyncio.get_running_loop().set_exception_handler(_on_stray_error)
    await run(source)


def _on_stray_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Tell what no task waited for, in one line."""
    error = context.get("exception")
    exc_info = (type(error), error, error.__traceback__) if isinstance(error, BaseException) else None
    log.error("%s", context.get("message", "an error outside of any task"), exc_info=exc_info)
