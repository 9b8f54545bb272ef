"""One owner a data directory, and only our own data in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.data_dir import DataDir, Mark
from infra.local.errors import DataForeign, DataInUse

MARK = Mark(program="kafka", version="4.3.0", ports={"client": 1})


def test_the_mark_comes_back(tmp_path: Path) -> None:
    """A new directory has no mark; what was written is read at the next claim."""
    data = DataDir(tmp_path / "new")
    assert data.claim("kafka") is None
    data.write(MARK)
    data.release()
    data.release()
    assert data.claim("kafka") == MARK
    data.release()


def test_a_second_owner_is_refused_with_the_firsts_pid(tmp_path: Path) -> None:
    """Two processes can't work on the same data: the second is told who does."""
    first = DataDir(tmp_path)
    first.claim("kafka")
    with pytest.raises(DataInUse, match=f"in use by process {os.getpid()}"):
        DataDir(tmp_path).claim("kafka")
    first.release()
    second = DataDir(tmp_path)
    second.claim("kafka")
    second.release()


def test_the_lock_is_held_as_long_as_a_child_has_it(tmp_path: Path) -> None:
    """A dead owner's directory is free when its last program is gone, not before; the claim waits for that."""
    owner = f"""
import subprocess, sys
from pathlib import Path
from infra.local.data_dir import DataDir
data = DataDir(Path({str(tmp_path)!r}))
data.claim("kafka")
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[data.lock])
print(child.pid, flush=True)
input()
"""
    first = subprocess.Popen([sys.executable, "-c", owner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    int(first.stdout.readline())
    # Its end closes the pipe that the child reads from, so the child ends a moment after it.
    first.kill()
    first.wait()
    second = DataDir(tmp_path)
    second.claim("kafka")
    second.release()
    first.stdout.close()
    first.stdin.close() if first.stdin else None


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    """A directory with files that we didn't make is refused by name of one of them."""
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(DataForeign, match=r"thesis\.tex"):
        DataDir(tmp_path).claim("kafka")


def test_another_programs_data_is_refused(tmp_path: Path) -> None:
    """Kafka's data is not Cassandra's."""
    data = DataDir(tmp_path)
    data.claim("kafka")
    data.write(MARK)
    data.release()
    with pytest.raises(DataForeign, match="holds data of kafka, not of cassandra"):
        DataDir(tmp_path).claim("cassandra")


def test_a_broken_mark_is_said(tmp_path: Path) -> None:
    """A mark that can't be read is an error, not a new beginning."""
    (tmp_path / "parley.json").write_text("{")
    with pytest.raises(DataForeign, match=r"parley\.json can't be read"):
        DataDir(tmp_path).claim("kafka")


def test_a_file_in_the_place_of_the_directory_is_said(tmp_path: Path) -> None:
    """A path that can't be a directory is one line."""
    (tmp_path / "f").write_text("")
    with pytest.raises(DataForeign, match="can't be used for data"):
        DataDir(tmp_path / "f").claim("kafka")
