"""A data directory with one owner: a lock that outlives its taker's death by no more than its children, and a mark.

The lock's descriptor is inherited by the programs that work on the data, so it is held until the last of them is gone;
a second start never meets a broker that still closes its files.
"""

import fcntl
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.local.errors import DataForeign, DataInUse

LOCK: Final = ".owner"
MARK: Final = "parley.json"
# A killed owner's programs are killed with it; until the kernel has closed their files the lock is still held.
DYING_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a data directory says about itself.

    Args:
        program: whose data it is.
        version: of the program that wrote it.
        ports: the ports it was given, by name, so that a restart has the same.
    """

    program: str
    version: str
    ports: Mapping[str, int]


class DataDir:
    """A directory owned by this process from `claim` to `release`.

    Args:
        known: names that may lie in a new directory: ours, made before it was claimed.
    """

    def __init__(self, path: Path, *, known: Sequence[str] = ()) -> None:
        self._known = {LOCK, *known}
        self.path = path.expanduser().absolute()
        self._lock: int | None = None

    @property
    def lock(self) -> int:
        """The descriptor that holds the lock, for children to inherit."""
        if self._lock is None:
            raise DataInUse(f"{self.path} is not claimed")
        return self._lock

    def claim(self, program: str) -> Mark | None:
        """Own the directory, making it if need be; return its mark, None if it is new.

        Blocks for at most 10 s, and only while a dead owner's programs are still ending.

        Raises:
            DataInUse: a living process owns it.
            DataForeign: it holds something else, or can't be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataForeign(
                f"{self.path} can't be used for data ({error.strerror}): name another directory"
            ) from error
        try:
            self._take(lock)
            mark = self._read(program)
        except BaseException:
            os.close(lock)
            raise
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock
        return mark

    def _take(self, lock: int) -> None:
        give_up_at = time.monotonic() + DYING_S
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
            if _is_alive(owner) or time.monotonic() > give_up_at:
                raise DataInUse(
                    f"{self.path} is in use by process {owner or 'unknown'}: stop that one, or name another directory"
                )
            time.sleep(0.05)

    def _read(self, program: str) -> Mark | None:
        try:
            raw = json.loads((self.path / MARK).read_text(encoding="utf-8"))
            mark = Mark(program=raw["program"], version=raw["version"], ports=dict(raw["ports"]))
        except FileNotFoundError:
            others = [entry.name for entry in self.path.iterdir() if entry.name not in self._known]
            if others:
                raise DataForeign(
                    f"{self.path} holds files that Parley didn't make ({min(others)}): name an empty directory"
                ) from None
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise DataForeign(f"{self.path / MARK} can't be read: restore it, or name an empty directory") from error
        if mark.program != program:
            raise DataForeign(f"{self.path} holds data of {mark.program}, not of {program}: name another directory")
        return mark

    def write(self, mark: Mark) -> None:
        """Put the mark, whole or not at all."""
        text = json.dumps({"program": mark.program, "version": mark.version, "ports": dict(mark.ports)}, indent=2)
        beside = self.path / (MARK + ".new")
        beside.write_text(text + "\n", encoding="utf-8")
        beside.replace(self.path / MARK)

    def release(self) -> None:
        """Give the directory up. Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _is_alive(pid: str) -> bool:
    """True also for a process that we may not signal; False for one that is dead and not yet reaped."""
    if not pid.isdigit():
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}
