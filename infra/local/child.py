"""One child process: tied to us, in a session of its own, its output in a file, ended by SIGTERM and then SIGKILL."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

TETHER: Final = Path(__file__).with_name("tether.py")
MAX_LOG_BYTES: Final = 16 << 20


class Child:
    """A running program.

    A session of its own keeps Ctrl-C at the terminal away from it: who supervises ends it, in the right order.
    Start it in the main thread, or in one that lives as long as it shall (tether.py).
    """

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self.log = log

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        log: Path,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        keep: Sequence[int] = (),
    ) -> "Child":
        """Start `command` (an absolute program first), appending its output to `log`.

        Args:
            keep: open file descriptors that the program inherits: a lock is then held until it has ended too.
        """
        _roll(log)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(TETHER), str(os.getpid())),
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                cwd=cwd,
                env=environment,
                start_new_session=True,
                pass_fds=keep,
            )
        return cls(process, log)

    @property
    def pid(self) -> int:
        """The process id; it is the program's own, since the tether becomes the program."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, minus the signal if one ended it, None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Return the exit status when it has ended. Safe to cancel and to call from many tasks."""
        return await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it has ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def stop(self, limit_s: float) -> int:
        """End it: SIGTERM, and SIGKILL after `limit_s`; then whatever it started itself. Idempotent.

        Cancelling kills at once, so a second Ctrl-C never leaves a process behind.
        """
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(limit_s):
                await self.wait()
        except TimeoutError:
            pass
        finally:
            self.kill_group()
        return await self.wait()

    def kill_group(self) -> None:
        """SIGKILL what is left of its session. The group keeps the number while a member lives: no stranger is hit."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def tail(self, lines: int = 40) -> str:
        """Return the last lines of its output."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64_000))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
        return ""


def _roll(log: Path) -> None:
    """Keep one older file: a log grows past 16 MB only within one run."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        if log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_suffix(".1" + log.suffix))
