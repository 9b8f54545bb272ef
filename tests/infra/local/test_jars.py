"""The lock file of jars."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from infra.local.jars import LOCK_FILE, Jar, LockedProgram, classpath, missing, read_lock, render_lock

NAMES = st.from_regex(r"[a-z][a-z0-9.-]{0,12}", fullmatch=True)
JARS = st.builds(
    Jar,
    coordinate=st.lists(NAMES, min_size=3, max_size=4).map(":".join),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    size_bytes=st.integers(1, 1 << 30),
)


def test_the_committed_lock_is_what_the_tool_renders() -> None:
    """The lock in the tree has the tool's own form, so a change shows as lines of jars."""
    assert render_lock(read_lock()) == LOCK_FILE.read_text(encoding="utf-8")


def test_the_lock_names_the_two_programs_in_the_versions_we_run() -> None:
    """Kafka 4.3.0 with its own clients, and Cassandra 5.0.9, each jar with a whole hash."""
    lock = read_lock()
    coordinates = {jar.coordinate for program in lock.values() for jar in program.jars}
    assert {
        "org.apache.kafka:kafka_2.13:4.3.0",
        "org.apache.kafka:kafka-clients:4.3.0",
        "org.apache.cassandra:cassandra-all:5.0.9",
    } <= coordinates
    assert all(len(jar.sha256) == 64 and jar.size_bytes > 0 for program in lock.values() for jar in program.jars)


@given(st.dictionaries(NAMES, st.lists(JARS, max_size=4)))
def test_a_rendered_lock_reads_back(programs: dict[str, list[Jar]]) -> None:
    """What was written is what is read, whatever the coordinates."""
    locked = {name: LockedProgram(roots=(name,), jars=tuple(jars)) for name, jars in programs.items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "jars.lock")
        file.write_text(render_lock(locked), encoding="utf-8")
        assert read_lock(file) == locked


def test_a_path_follows_mavens_layout() -> None:
    """Dots of the group become folders; a classifier ends the name."""
    plain = Jar(coordinate="org.apache.kafka:kafka_2.13:4.3.0", sha256="", size_bytes=1)
    native = Jar(coordinate="io.netty:netty:4.1.Final:linux-x86_64", sha256="", size_bytes=1)
    assert plain.path == "org/apache/kafka/kafka_2.13/4.3.0/kafka_2.13-4.3.0.jar"
    assert native.path == "io/netty/netty/4.1.Final/netty-4.1.Final-linux-x86_64.jar"
    program = LockedProgram(roots=(), jars=(plain, native))
    assert classpath(program, Path("/c")) == f"/c/{plain.path}:/c/{native.path}"


def test_a_jar_of_another_size_is_missing(tmp_path: Path) -> None:
    """A jar counts as there only at its full size."""
    jar = Jar(coordinate="g:a:1", sha256="", size_bytes=3)
    assert missing([jar, jar], tmp_path) == [jar]
    file = tmp_path / jar.path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"12")
    assert missing([jar], tmp_path) == [jar]
    file.write_bytes(b"123")
    assert missing([jar], tmp_path) == []
