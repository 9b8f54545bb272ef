"""Running a program: ports kept, every failure told, nothing left behind."""

import asyncio
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from infra.local.errors import DataForeign, DataInUse, DiskFull, PortTaken, StartFailed, TooLittleMemory
from infra.local.node import LocalNode
from infra.local.settings import LocalSettings
from tests.infra.local.conftest import LISTENS, TinyProgram
from tests.infra.local.test_child import gone

pytestmark = pytest.mark.usefixtures("no_jars")


def node_of(program: TinyProgram, data: Path, *, port: int = 0, free_mb: int = 4000, limit_s: float = 20) -> LocalNode:
    settings = LocalSettings(start_limit_s=limit_s, stop_limit_s=5)
    return LocalNode(program, data, port=port, heap_mb=128, settings=settings, free_mb=lambda: free_mb)


async def test_a_restart_has_the_same_ports(listening: TinyProgram, tmp_path: Path) -> None:
    """Ports are chosen once and kept with the data; start and stop can be repeated."""
    node = node_of(listening, tmp_path)
    address = await node.start()
    ports = dict(node.ports)
    assert node.pid is not None
    await node.stop()
    assert await node.start() == address
    assert dict(node.ports) == ports
    await node.stop()
    await node.stop()


async def test_a_kept_port_that_is_taken_is_replaced(listening: TinyProgram, tmp_path: Path) -> None:
    """A port that we chose ourselves is nobody's business: another one is chosen."""
    node = node_of(listening, tmp_path)
    await node.start()
    await node.stop()
    with socket.create_server(("127.0.0.1", node.ports["client"])):
        before = node.ports["client"]
        await node.start()
        assert node.ports["client"] != before
        await node.stop()


async def test_a_taken_port_that_was_asked_for_is_an_error(listening: TinyProgram, tmp_path: Path) -> None:
    """A port that the user named is not silently another one."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port} for Kafka is taken .*\[local\] kafka_port"):
            await node_of(listening, tmp_path, port=port).start()


async def test_a_second_start_on_the_same_data_is_refused(listening: TinyProgram, tmp_path: Path) -> None:
    """The second is told who owns the data, and the first isn't disturbed."""
    first = node_of(listening, tmp_path)
    await first.start()
    with pytest.raises(DataInUse, match="stop that one, or name another directory"):
        await node_of(listening, tmp_path).start()
    assert first.pid is not None
    await first.stop()


async def test_too_little_memory_is_said_before_anything_runs(listening: TinyProgram, tmp_path: Path) -> None:
    """The check comes before the directory is touched."""
    with pytest.raises(TooLittleMemory, match="close something"):
        await node_of(listening, tmp_path / "d", free_mb=0).start()
    assert not (tmp_path / "d").exists()


async def test_a_full_disk_on_the_way_is_said(tmp_path: Path) -> None:
    """A program that dies of a full disk is reported as that."""
    dying = TinyProgram('print("java.io.IOException: No space left on device {port}"); raise SystemExit(1)')
    with pytest.raises(DiskFull, match="ended with status 1: the disk is full"):
        await node_of(dying, tmp_path).start()


async def test_a_program_that_never_answers_is_ended(tmp_path: Path) -> None:
    """Behind the limit it is killed, and the error names the log."""
    silent = TinyProgram("import time; print({port}); time.sleep(600)")
    with pytest.raises(StartFailed, match=r"didn't answer within 0\.3 s: see .*kafka\.log"):
        await node_of(silent, tmp_path, limit_s=0.3).start()


async def test_a_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C during the start ends what was started, and the data is free again."""
    silent = TinyProgram("import os, time; open('{root}/pid', 'w').write(str(os.getpid())); {port}; time.sleep(600)")
    task = asyncio.create_task(node_of(silent, tmp_path).start())
    async with asyncio.timeout(10):
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(int((tmp_path / "pid").read_text()))
    again = node_of(TinyProgram(LISTENS), tmp_path)
    await again.start()
    await again.stop()


async def test_data_of_another_generation_is_refused(listening: TinyProgram, tmp_path: Path) -> None:
    """Data written by another major version isn't opened."""
    mark = {"program": "kafka", "version": "3.9.1", "ports": {}}
    (tmp_path / "parley.json").write_text(json.dumps(mark))
    with pytest.raises(DataForeign, match=r"written by Kafka 3\.9\.1, this is 4\.3\.0"):
        await node_of(listening, tmp_path).start()


async def test_an_end_of_its_own_is_reported(listening: TinyProgram, tmp_path: Path) -> None:
    """Who waits for the end is told why it came."""
    node = node_of(listening, tmp_path)
    await node.start()
    assert node.pid is not None
    os.kill(node.pid, signal.SIGKILL)
    assert "ended by signal 9" in str(await node.ended())
    await node.stop()
    assert "is not running" in str(await node.ended())
