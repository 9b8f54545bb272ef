"""What a running `up` tells the other commands."""

import os
from pathlib import Path

from infra.cli.supervision.state import Phase, Process, State, live_state, owner_of, remove_state, write_state
from infra.local.data_dir import DataDir

STATE = State(
    pid=os.getpid(),
    page="http://127.0.0.1:8080/",
    base_url="http://127.0.0.1:8080/v1",
    stream_url="ws://127.0.0.1:8081/v1/stream",
    key_file="/k",
    settings={"kafka.bootstrap": "127.0.0.1:1"},
    processes=(Process(name="kafka", role="kafka", pid=7, ports={"client": 1}, state=Phase.READY),),
)


def test_a_state_is_believed_only_while_its_owner_lives(tmp_path: Path) -> None:
    """The file alone says nothing: the lock does."""
    data = DataDir(tmp_path)
    data.claim("parley")
    write_state(tmp_path, STATE)
    assert live_state(tmp_path) == STATE
    assert owner_of(tmp_path) == os.getpid()
    data.release()
    assert live_state(tmp_path) is None
    assert owner_of(tmp_path) is None


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """It holds the internal secret."""
    write_state(tmp_path, STATE)
    assert (tmp_path / "state.json").stat().st_mode & 0o077 == 0
    remove_state(tmp_path)
    remove_state(tmp_path)


def test_nothing_runs_where_nothing_is(tmp_path: Path) -> None:
    """A directory that isn't there has no owner; a broken state is none."""
    assert owner_of(tmp_path / "no") is None
    data = DataDir(tmp_path)
    data.claim("parley")
    assert live_state(tmp_path) is None
    (tmp_path / "state.json").write_text("{")
    assert live_state(tmp_path) is None
    data.release()
