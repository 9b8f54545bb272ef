"""`parley up` from the inside, with real brokers and services of ten lines."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from infra.cli.compacted import newest
from infra.cli.supervision.plan import Options, ServicePlan
from infra.cli.supervision.secret_file import read_secret
from infra.cli.supervision.state import Phase, State, live_state
from infra.cli.supervision.supervisor import Supervisor, Up
from infra.cli.supervision.watched import ServicePart
from infra.local.errors import DataInUse, PortTaken
from infra.local.resources import free_port
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.settings import SettingsSource
from schemas import identity, topics
from schemas.errors import ParleyError, SettingsError
from schemas.records import DeploymentSet, KeyChanged

READY = """
import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PARLEY_SERVICE_METRICS_PORT"])), Ready).serve_forever()
"""


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Scripts by service name in the place of the real services; all others are ready at once."""
    chosen: dict[str, str] = {}

    def service(self: Supervisor, planned: ServicePlan) -> ServicePart:
        command = [sys.executable, "-c", chosen.get(planned.name, READY)]
        environment = {**os.environ, **planned.environment}
        return ServicePart(planned, command, environment, self._up.data / "log", self._data.lock)

    monkeypatch.setattr(Supervisor, "_service", service)
    return chosen


@pytest.fixture
def environment(kafka: str, cassandra: tuple[str, int], topic_prefix: str, keyspace: str) -> Mapping[str, str]:
    """Where the test's brokers are."""
    return {
        "PARLEY_KAFKA_BOOTSTRAP": kafka,
        "PARLEY_KAFKA_TOPIC_PREFIX": topic_prefix,
        "PARLEY_CASSANDRA_CONTACT_POINTS": cassandra[0],
        "PARLEY_CASSANDRA_PORT": str(cassandra[1]),
        "PARLEY_CASSANDRA_KEYSPACE": keyspace,
    }


def up_of(data: Path, environment: Mapping[str, str], **options: int) -> Up:
    ports = {"port": free_port(9000), "stream_port": free_port(9100)} | options
    return Up(
        data=data,
        options=Options(**ports),  # type: ignore[arg-type]
        source=SettingsSource(environ=environment),
        config=None,
        starts_kafka=False,
        starts_cassandra=False,
    )


@asynccontextmanager
async def running(up: Up, lines: list[str]) -> AsyncIterator["asyncio.Task[int]"]:
    """Run a supervisor within the block; it is ended as by Ctrl-C behind it."""
    task = asyncio.create_task(Supervisor(up, lines.append).run())
    try:
        yield task
    finally:
        if not task.done():
            os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait([task])


async def until(data: Path, holds: Callable[[State], bool], task: "asyncio.Task[int]") -> State:
    """Return the state when it holds; raises what ended the supervisor before."""
    async with asyncio.timeout(60):
        while True:
            if task.done():
                task.result()
            state = live_state(data)
            if state is not None and holds(state):
                return state
            await asyncio.sleep(0.02)


async def test_up_prepares_starts_all_and_ends_all(
    scripts: dict[str, str], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """Topics, deployments and a key are there, every service is ready, and Ctrl-C leaves nothing running."""
    lines: list[str] = []
    async with running(up_of(tmp_path, environment, workers=2), lines) as task:
        state = await until(tmp_path, lambda s: s.is_ready, task)
        assert {p.state for p in state.processes} == {Phase.READY}
        assert [p.name for p in state.processes if p.role == "inference"] == ["closing", "inference-1", "inference-2"]
        pids = [p.pid for p in state.processes]
        settings = SettingsSource(environ=environment).read(KafkaSettings, "kafka")
        assert set(await newest(settings, topics.DEPLOYMENTS, DeploymentSet)) == {"default", "closing"}
        keys = await newest(settings, topics.KEYS, KeyChanged)
        key = read_secret(tmp_path / "key")
        assert [k.hash for k in keys.values()] == [identity.key_hash(key)]
    assert task.result() == 0
    assert "Parley is up: a message can be sent." in "\n".join(lines)
    assert not any(psutil.pid_exists(pid) for pid in pids if pid is not None)
    assert live_state(tmp_path) is None
    # The next one has the same key.
    async with running(up_of(tmp_path, environment), lines) as task:
        await until(tmp_path, lambda s: s.is_ready, task)
        assert read_secret(tmp_path / "key") == key


async def test_a_dead_service_is_started_again_and_said(
    scripts: dict[str, str], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """SIGKILL of a service: a line says so, and it is back under another pid."""
    lines: list[str] = []
    async with running(up_of(tmp_path, environment), lines) as task:
        state = await until(tmp_path, lambda s: s.is_ready, task)
        [victim] = [p for p in state.processes if p.name == "moderation"]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)

        def is_back(now: State) -> bool:
            [row] = [p for p in now.processes if p.name == "moderation"]
            return row.state is Phase.READY and row.pid not in {None, victim.pid}

        await until(tmp_path, is_back, task)
    told = "\n".join(lines)
    assert "moderation ended by signal 9" in told
    assert "starting moderation again in 0.5 s" in told
    assert "moderation is back" in told


async def test_a_service_that_refuses_its_settings_ends_the_up(
    scripts: dict[str, str], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """The service's own lines are what the person reads."""
    scripts["delivery-1"] = "import sys; print('parley: PARLEY_X: unknown'); sys.exit(2)"
    async with running(up_of(tmp_path, environment), []) as task:
        with pytest.raises(SettingsError, match=r"^PARLEY_X: unknown$"):
            await task
    assert live_state(tmp_path) is None


async def test_a_service_that_dies_at_its_start_ends_the_up(
    scripts: dict[str, str], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """The line names the service and its log."""
    scripts["gateway-1"] = "raise SystemExit(3)"
    async with running(up_of(tmp_path, environment), []) as task:
        with pytest.raises(ParleyError, match=r"gateway-1 ended with status 3: see .*gateway-1\.log"):
            await task


async def test_a_second_up_on_the_same_data_is_refused(
    scripts: dict[str, str], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """The first goes on undisturbed."""
    async with running(up_of(tmp_path, environment), []) as task:
        await until(tmp_path, lambda s: s.is_ready, task)
        with pytest.raises(DataInUse, match=f"in use by process {os.getpid()}"):
            await Supervisor(up_of(tmp_path, environment), print).run()
        assert live_state(tmp_path) is not None


async def test_a_taken_public_port_is_said_before_anything_starts(
    scripts: dict[str, str], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """The line names the option."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        up = up_of(tmp_path, environment, port=other.getsockname()[1])
        async with running(up, []) as task:
            with pytest.raises(PortTaken, match=r"for the page is taken .* by --port"):
                await task


async def test_a_second_ctrl_c_does_not_wait(
    scripts: dict[str, str], environment: Mapping[str, str], tmp_path: Path
) -> None:
    """What ignores SIGTERM is killed at once when the person insists."""
    scripts["gateway-1"] = READY.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
    async with running(up_of(tmp_path, environment), []) as task:
        state = await until(tmp_path, lambda s: s.is_ready, task)
        [stubborn] = [p.pid for p in state.processes if p.name == "gateway-1"]
        os.kill(os.getpid(), signal.SIGINT)
        await until(tmp_path, lambda s: any(p.state is Phase.STOPPING for p in s.processes), task)
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(10):
            assert await task == 0
    assert stubborn is not None
    assert not psutil.pid_exists(stubborn)
