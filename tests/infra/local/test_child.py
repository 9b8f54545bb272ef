"""A child process: its output kept, its end ours to decide."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil

from infra.local import child as child_module
from infra.local.child import Child


async def start(script: str, log: Path) -> Child:
    """Start a script and return when it has printed its first line."""
    child = await Child.start([sys.executable, "-u", "-c", script], log=log)
    async with asyncio.timeout(10):
        while not child.tail():  # noqa: ASYNC110 - what another process prints sets no event of ours
            await asyncio.sleep(0.01)
    return child


async def test_a_polite_child_ends_by_sigterm(tmp_path: Path) -> None:
    """SIGTERM comes first, and its answer is waited for."""
    script = (
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('ready')\nwhile True: signal.pause()"
    )
    child = await start(script, tmp_path / "x.log")
    assert child.returncode is None
    assert await child.stop(10) == 7
    assert await child.stop(10) == 7
    assert child.tail() == "ready"


async def test_a_stubborn_child_is_killed_at_the_limit(tmp_path: Path) -> None:
    """What ignores SIGTERM is killed."""
    script = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(1)\nwhile True: signal.pause()"
    child = await start(script, tmp_path / "x.log")
    assert await child.stop(0.05) == -signal.SIGKILL


async def test_grandchildren_go_too(tmp_path: Path) -> None:
    """What the child started in its own session ends with it."""
    script = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\nprint(p.pid)\ntime.sleep(600)"
    )
    child = await start(script, tmp_path / "x.log")
    grandchild = int(child.tail())
    await child.stop(10)
    assert await gone(grandchild)


async def test_the_terminals_ctrl_c_does_not_reach_it(tmp_path: Path) -> None:
    """It is in a session of its own."""
    child = await start("import time; print(1); time.sleep(600)", tmp_path / "x.log")
    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    await child.stop(10)


async def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """A SIGKILLed parent leaves nothing running."""
    parent = f"""
import asyncio, sys
from pathlib import Path

import psutil
from infra.local.child import Child
async def main():
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = await Child.start(command, log=Path({str(tmp_path)!r}, "y.log"))
    print(child.pid)
    await child.wait()
asyncio.run(main())
"""
    outer = await start(parent, tmp_path / "x.log")
    inner = int(outer.tail())
    outer.signal(signal.SIGKILL)
    await outer.wait()
    assert await gone(inner)


async def test_a_long_log_is_rolled(tmp_path: Path, monkeypatch: object) -> None:
    """A log over the bound is set aside at the next start, and only one older one is kept."""
    log = tmp_path / "x.log"
    log.write_bytes(b"old" * 10)
    size, child_module.MAX_LOG_BYTES = child_module.MAX_LOG_BYTES, 5  # type: ignore[misc]
    try:
        child = await start("print('new')", log)
        await child.wait()
    finally:
        child_module.MAX_LOG_BYTES = size  # type: ignore[misc]
    assert (tmp_path / "x.1.log").read_bytes() == b"old" * 10
    assert log.read_text() == "new\n"


async def gone(pid: int) -> bool:
    """True when the process has ended (a zombie of init counts), False after 10 s."""
    for _ in range(1000):
        try:
            state = psutil.Process(pid).status()
        except psutil.NoSuchProcess:
            return True
        if state == psutil.STATUS_ZOMBIE:
            return True
        await asyncio.sleep(0.01)
    return False
