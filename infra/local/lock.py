"""Make `jars.lock` anew: `python -m infra.local.lock`. Resolves with jgo, without Java, and hashes what it got.

jgo only resolves here. Its launcher may fetch a Java from outside the registries, so nothing in Parley calls it.
"""

import hashlib
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from infra.local.jars import LOCK_FILE, Jar, LockedProgram, render_lock

ROOTS: Final[Mapping[str, tuple[str, ...]]] = {
    "kafka": (
        "org.apache.kafka:kafka_2.13:4.3.0",
        # Named, or the resolver settles on 3.9.1 and the broker dies with NoSuchMethodError.
        "org.apache.kafka:kafka-clients:4.3.0",
        "org.apache.logging.log4j:log4j-slf4j2-impl:2.25.1",
    ),
    "cassandra": ("org.apache.cassandra:cassandra-all:5.0.9",),
}

# Tools and natives of other systems: the daemon never loads them. (sigar looks like one, and is needed at start.)
DROPPED: Final = ("cassandra-driver-core", "sjk-", "mxdump")
DROPPED_CLASSIFIERS: Final = ("osx", "windows")


def is_needed(coordinate: str) -> bool:
    """True unless the jar is a tool, or native code of a system that we don't run on."""
    _, artifact, _, *classifier = coordinate.split(":")
    return not artifact.startswith(DROPPED) and not any(c.startswith(DROPPED_CLASSIFIERS) for c in classifier)


def resolve(roots: tuple[str, ...]) -> LockedProgram:
    """Resolve the roots and hash every jar that is needed at run time."""
    import jgo  # noqa: PLC0415  # an extra: only who makes a lock has it

    with tempfile.TemporaryDirectory() as cache:
        environment = jgo.build("+".join(roots), cache_dir=cache)
        repository = Path(jgo.constants.default_maven_repo())
        jars = [_locked(repository, Path(file).name) for file in environment.all_jars]
    return LockedProgram(roots=roots, jars=tuple(jar for jar in jars if is_needed(jar.coordinate)))


def _locked(repository: Path, name: str) -> Jar:
    """The coordinate is read off the local repository's layout, which is Maven's own."""
    [file] = repository.rglob(name)
    version, artifact = file.parent.name, file.parent.parent.name
    group = ".".join(file.parent.parent.parent.relative_to(repository).parts)
    classifier = name.removesuffix(".jar").removeprefix(f"{artifact}-{version}").removeprefix("-")
    data = file.read_bytes()
    return Jar(
        coordinate=":".join([group, artifact, version, *([classifier] if classifier else [])]),
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
    )


def main() -> None:
    """Write the lock file and say what is in it."""
    programs = {name: resolve(roots) for name, roots in ROOTS.items()}
    LOCK_FILE.write_text(render_lock(programs), encoding="utf-8")
    for name, program in programs.items():
        sys.stdout.write(f"{name}: {len(program.jars)} jars, {program.size_bytes / 1e6:.1f} MB\n")


if __name__ == "__main__":
    main()
