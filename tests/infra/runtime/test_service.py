"""A service's life: health while it starts, drains and is degraded; signals; errors told in one line."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from infra.runtime.service import Readiness, ServiceSettings, serve
from infra.runtime.settings import SettingsSource
from schemas.errors import SettingsError

# What a real process runs: `run_service` over a service that tells what happens to it.
PROGRAM = """
import asyncio, sys
from infra.runtime.service import Readiness, run_service, serve
from infra.runtime.settings import SettingsSource
from schemas.errors import KafkaUnavailable, SettingsError

class Told:
    routes = ()
    async def start(self): print("started", flush=True)
    async def drain(self):
        print("draining", flush=True)
        await asyncio.sleep({drain_s})
        print("drained", flush=True)
    async def stop(self): print("stopped", flush=True)
    def readiness(self): return Readiness(True)
    {extra}

async def run(source):
    {before}
    await serve(Told(), role="gateway", drain_s={limit_s})

sys.exit(run_service(run, SettingsSource(environ={{"PARLEY_LOG_FORM": "text"}}), "gateway"))
"""


class Sample:
    """A service that does what the test says."""

    def __init__(self) -> None:
        self.ready = Readiness(True)
        self.may_start = asyncio.Event()
        self.may_end = asyncio.Event()
        self.told: list[str] = []

    @property
    def routes(self) -> Sequence[web.AbstractRouteDef]:
        async def hello(_request: web.Request) -> web.Response:
            return web.Response(text="hello")

        return [web.get("/internal/hello", hello)]

    async def start(self) -> None:
        await self.may_start.wait()
        self.told.append("start")

    async def drain(self) -> None:
        self.told.append("drain")
        await self.may_end.wait()

    async def stop(self) -> None:
        self.told.append("stop")

    def readiness(self) -> Readiness:
        return self.ready


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Asked:
    """What the metrics port of a running service answers."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._session = session

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and body; waits until somebody listens."""
        async with asyncio.timeout(10):
            while True:
                try:
                    async with self._session.get(self._base + path) as response:
                        is_json = response.content_type == "application/json"
                        return response.status, await response.json() if is_json else await response.text()
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.01)

    async def until(self, path: str, status: int, word: str) -> dict[str, Any]:
        """The first answer of that status that says that word."""
        async with asyncio.timeout(10):
            while True:
                found, body = await self.get(path)
                if found == status and body["status"] == word:
                    return dict(body)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(service: Sample, drain_s: float = 5) -> AsyncIterator[tuple[Asked, "asyncio.Task[None]"]]:
    port = free_port()
    task = asyncio.create_task(serve(service, role="gateway", metrics_port=port, drain_s=drain_s))
    async with aiohttp.ClientSession() as session:
        yield Asked(port, session), task
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def test_health_and_readiness() -> None:
    """/healthz tells of the process alone; /readyz follows start, work, outage and degradation."""
    service = Sample()
    async with serving(service) as (asked, _):
        assert await asked.get("/healthz") == (200, {"status": "ok", "role": "gateway"})
        await asked.until("/readyz", 503, "starting")
        service.may_start.set()
        await asked.until("/readyz", 200, "ok")
        service.ready = Readiness(ok=True, degraded=("store",))
        assert (await asked.get("/readyz"))[1]["degraded"] == ["store"]
        await asked.until("/readyz", 200, "degraded")
        service.ready = Readiness(ok=False, degraded=("kafka",))
        await asked.until("/readyz", 503, "unavailable")
        assert (await asked.get("/healthz"))[0] == 200


async def test_metrics_and_own_routes() -> None:
    """/metrics answers in Prometheus' text form, and a service's own routes stand beside it."""
    service = Sample()
    service.may_start.set()
    async with serving(service) as (asked, _):
        status, text = await asked.get("/metrics")
        assert status == 200
        assert 'parley_build_info{python="' in text
        assert await asked.get("/internal/hello") == (200, "hello")


async def test_the_first_signal_drains() -> None:
    """SIGTERM takes the service out of readiness, drains it, then stops it; nothing is cut off that ends in time."""
    service = Sample()
    service.may_start.set()
    async with serving(service) as (asked, task):
        await asked.until("/readyz", 200, "ok")
        os.kill(os.getpid(), signal.SIGTERM)
        await asked.until("/readyz", 503, "draining")
        assert service.told == ["start", "drain"]
        service.may_end.set()
        await asyncio.wait_for(task, 10)
        assert service.told == ["start", "drain", "stop"]


async def test_draining_is_bounded() -> None:
    """Work that doesn't end within the limit is cut off, and the service stops all the same."""
    service = Sample()
    service.may_start.set()
    async with serving(service, drain_s=0.05) as (asked, task):
        await asked.until("/readyz", 200, "ok")
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(task, 10)
        assert service.told == ["start", "drain", "stop"]


async def test_a_signal_during_the_start() -> None:
    """Who is told to stop while it starts lets go of what it has, without a drain."""
    service = Sample()
    async with serving(service) as (asked, task):
        await asked.until("/readyz", 503, "starting")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, 10)
        assert service.told == ["stop"]


async def test_what_fails_is_raised_behind_a_stop() -> None:
    """An error of start or watch ends the service: it is stopped first, then the error leaves."""

    class Broken(Sample):
        async def watch(self) -> None:
            raise ZeroDivisionError

    service = Broken()
    service.may_start.set()
    service.may_end.set()
    with pytest.raises(ZeroDivisionError):
        await serve(service, role="gateway")
    assert service.told == ["start", "stop"]


async def test_a_taken_port_is_one_line() -> None:
    """A port that somebody else has is named, with what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"can't listen on 127.0.0.1:{port}: .*choose another"):
            await serve(Sample(), role="gateway", metrics_port=port)


def test_settings_refuse_what_nobody_can_listen_on() -> None:
    """A wrong port or a negative limit is found before anything starts."""
    for environ in ({"PARLEY_SERVICE_METRICS_PORT": "70000"}, {"PARLEY_SERVICE_DRAIN_S": "-1"}):
        with pytest.raises(SettingsError):
            SettingsSource(environ=environ).read(ServiceSettings, "service")


def program(drain_s: float = 0, limit_s: float = 5, extra: str = "", before: str = "") -> list[str]:
    """A command that runs the program above."""
    text = PROGRAM.format(drain_s=drain_s, limit_s=limit_s, extra=extra, before=before)
    return [sys.executable, "-c", textwrap.dedent(text)]


def test_a_process_drains_and_ends_with_zero() -> None:
    """A real process: SIGTERM, drain, stop, exit status 0."""
    with subprocess.Popen(program(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=20)
    assert told.splitlines() == ["draining", "drained", "stopped"]
    assert process.returncode == 0


def test_a_second_signal_ends_at_once() -> None:
    """A process that drains for long ends at the second signal, without waiting and without a stop."""
    command = program(drain_s=60, limit_s=60)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "draining\n"
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=20)
    assert told == ""
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("before", "status", "words"),
    [
        ("raise SettingsError('[a] b: wrong\\n[a] c: wrong')", 2, "parley: [a] b: wrong\nparley: [a] c: wrong\n"),
        ("raise KafkaUnavailable('no broker')", 1, "KafkaUnavailable: no broker"),
        ("1 / 0", 1, "ZeroDivisionError"),
    ],
)
def test_the_root_tells_an_error_in_a_line(before: str, status: int, words: str) -> None:
    """Whatever ends a process is told in its line, without a traceback, and by the exit status."""
    done = subprocess.run(program(before=before), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr
