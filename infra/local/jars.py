"""The lock file of jars: which ones make a program, and what each must hash to. Pure but for reading the file."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOCK_FILE: Final = Path(__file__).with_name("jars.lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    """One jar of the lock.

    Args:
        coordinate: Maven's `group:artifact:version`, with `:classifier` where there is one.
        sha256: of the file, 64 hex digits.
        size_bytes: of the file.
    """

    coordinate: str
    sha256: str
    size_bytes: int

    @property
    def path(self) -> str:
        """Where a Maven repository keeps it, relative to the repository's root."""
        group, artifact, version, *classifier = self.coordinate.split(":")
        return f"{group.replace('.', '/')}/{artifact}/{version}/{'-'.join([artifact, version, *classifier])}.jar"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedProgram:
    """A program as its jars.

    Args:
        roots: the coordinates that were resolved.
        jars: all that belongs on the classpath, in its order.
    """

    roots: tuple[str, ...]
    jars: tuple[Jar, ...]

    @property
    def size_bytes(self) -> int:
        """All jars together."""
        return sum(jar.size_bytes for jar in self.jars)

    @property
    def digest(self) -> str:
        """Changes when any jar does: 16 hex digits."""
        return hashlib.sha256("".join(jar.sha256 for jar in self.jars).encode()).hexdigest()[:16]


def read_lock(file: Path = LOCK_FILE) -> Mapping[str, LockedProgram]:
    """Return the locked programs by name (`kafka`, `cassandra`)."""
    raw = json.loads(file.read_text(encoding="utf-8"))
    return {
        name: LockedProgram(
            roots=tuple(program["roots"]),
            jars=tuple(Jar(coordinate=c, size_bytes=size, sha256=sha) for c, size, sha in program["jars"]),
        )
        for name, program in raw.items()
    }


def render_lock(programs: Mapping[str, LockedProgram]) -> str:
    """Return the lock file's text: one line a jar, so that a change reads as a change."""
    parts = []
    for name, program in programs.items():
        rows = ",\n".join("      " + json.dumps([jar.coordinate, jar.size_bytes, jar.sha256]) for jar in program.jars)
        roots = json.dumps(list(program.roots))
        parts.append(f'  {json.dumps(name)}: {{\n    "roots": {roots},\n    "jars": [\n{rows}\n    ]\n  }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def classpath(program: LockedProgram, folder: Path) -> str:
    """Return Java's `-cp` for jars kept under `folder`: files only, since a directory in it would rule out AppCDS."""
    return ":".join(str(folder / jar.path) for jar in program.jars)


def missing(jars: Sequence[Jar], folder: Path) -> list[Jar]:
    """Return the jars that `folder` lacks, or holds at another size; equal jars are named once."""
    return [jar for jar in dict.fromkeys(jars) if not _is_whole(folder / jar.path, jar)]


def _is_whole(file: Path, jar: Jar) -> bool:
    try:
        return file.stat().st_size == jar.size_bytes
    except OSError:
        return False
