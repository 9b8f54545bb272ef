"""What a running `up` tells the other commands: a file in its data directory, believed only while its owner lives."""

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from infra.local.data_dir import LOCK
from schemas import codec
from schemas.errors import ContractError

STATE_FILE: Final = "state.json"


class Phase(StrEnum):
    """Where a process is in its life."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "restarting"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One row of `parley ps`."""

    name: str
    role: str
    pid: int | None
    ports: Mapping[str, int]
    state: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A running `up`.

    Args:
        pid: of the supervisor.
        is_ready: a message can be sent.
        config: the settings' file it was given.
        settings: `section.key` to text: how other commands reach its parts.
        key_file: holds the development key.
    """

    pid: int
    is_ready: bool = False
    page: str
    base_url: str
    stream_url: str
    key_file: str
    config: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    processes: tuple[Process, ...] = ()


def write_state(data: Path, state: State) -> None:
    """Put the file, whole or not at all, for its owner's eyes."""
    beside = data / (STATE_FILE + ".new")
    beside.write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
    beside.chmod(0o600)
    beside.replace(data / STATE_FILE)


def remove_state(data: Path) -> None:
    """Forget it. Idempotent."""
    (data / STATE_FILE).unlink(missing_ok=True)


def live_state(data: Path) -> State | None:
    """Return the state of the `up` that runs on the directory, None if none does."""
    if owner_of(data) is None:
        return None
    try:
        return codec.convert(codec.parse((data / STATE_FILE).read_bytes()), State)
    except (OSError, ContractError):
        return None


def owner_of(data: Path) -> int | None:
    """Return the process that owns the directory, None if nobody does: the lock knows, whatever files say."""
    try:
        lock = os.open(data / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
        return int(owner) if owner.isdigit() else None
    finally:
        os.close(lock)
