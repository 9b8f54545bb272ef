"""What a local program is to the shell that runs it (node.py): pure renderings and one question over the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.local.errors import DataForeign, DiskFull, PortTaken, StartFailed, TooLittleMemory
from schemas.errors import ParleyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one instance lives.

    Args:
        root: absolute; holds `conf`, `data`, `log` and `tmp`.
        java: the binary.
        classpath: of the jars.
        ports: by the program's own names.
        heap_mb: most that the Java heap grows to.
    """

    root: Path
    java: Path
    classpath: str
    ports: Mapping[str, int]
    heap_mb: int


class Program(Protocol):
    """A program made of Java jars that keeps data and answers on loopback ports."""

    @property
    def name(self) -> str:
        """How the lock file and the data directory call it."""
        ...

    @property
    def title(self) -> str:
        """How people call it."""
        ...

    @property
    def version(self) -> str:
        """Of the jars."""
        ...

    @property
    def client_port(self) -> str:
        """The name of the port that clients use."""
        ...

    @property
    def other_ports(self) -> tuple[str, ...]:
        """The names of its other ports."""
        ...

    @property
    def needed_mb(self) -> int:
        """The memory that must be free before it starts, in MB."""
        ...

    @property
    def needed_disk_mb(self) -> int:
        """The same for the disk."""
        ...

    def files(self, place: Place) -> Mapping[str, str]:
        """Return the text of each configuration file, by its name under `conf`."""
        ...

    def format_command(self, place: Place) -> Sequence[str] | None:
        """Return the command that prepares a new data directory, None if none is needed."""
        ...

    def command(self, place: Place) -> Sequence[str]:
        """Return the command that runs it in the foreground."""
        ...

    async def answers(self, port: int) -> bool:
        """Return True if it does its work: asked with a real request. Raises nothing while it is coming up."""
        ...


# What the programs print as they die, and what that means to the person who started them.
_SIGNS: tuple[tuple[str, type[ParleyError], str], ...] = (
    ("No space left on device", DiskFull, "the disk is full: make room and start again, what was acknowledged is kept"),
    ("Disk quota exceeded", DiskFull, "the disk quota is used up: make room and start again"),
    ("Address already in use", PortTaken, "one of its ports was taken meanwhile: start again"),
    ("already in use by another process", PortTaken, "one of its ports was taken meanwhile: start again"),
    # Not the bare name: Cassandra begins its log with its flags, `-XX:+ExitOnOutOfMemoryError` among them.
    ("java.lang.OutOfMemoryError", TooLittleMemory, "its memory ran out: a larger heap by [local] would help"),
    ("insufficient memory for the Java", TooLittleMemory, "the machine has too little memory: close something"),
    ("Could not reserve enough space", TooLittleMemory, "the machine has too little memory: close something"),
    ("Cannot allocate memory", TooLittleMemory, "the machine has too little memory: close something"),
    ("InconsistentClusterIdException", DataForeign, "the data belongs to another cluster: name another directory"),
    ("No readable meta.properties", DataForeign, "the data is damaged: restore it, or name an empty directory"),
    ("CorruptSSTableException", DataForeign, "the data is damaged: restore it, or name an empty directory"),
    ("CommitLogReplayException", DataForeign, "the data is damaged: restore it, or name an empty directory"),
    ("KafkaStorageException", DataForeign, "the data is damaged: restore it, or name an empty directory"),
)


def why_it_ended(title: str, status: int, tail: str, log: Path) -> ParleyError:
    """Return the one-line error for a program that ended by itself, judged by the end of its output."""
    ended = f"by signal {-status}" if status < 0 else f"with status {status}"
    for sign, kind, sentence in _SIGNS:
        if sign in tail:
            return kind(f"{title} ended {ended}: {sentence} (log: {log})")
    return StartFailed(f"{title} ended {ended}: see {log}")
