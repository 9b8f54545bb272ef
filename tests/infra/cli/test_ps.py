"""The list of processes."""

import json
from pathlib import Path

import pytest

from infra.cli.main import main
from infra.cli.supervision.state import Phase, Process, State, write_state
from infra.local.data_dir import DataDir


def test_a_running_up_is_listed_for_eyes_and_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table with a heading, or the contract's objects."""
    data = DataDir(tmp_path)
    data.claim("parley")
    rows = (
        Process(name="kafka", role="kafka", pid=7, ports={"client": 1}, state=Phase.READY),
        Process(name="gateway-1", role="gateway", pid=None, ports={"http": 2, "metrics": 3}, state=Phase.WAITING),
    )
    write_state(tmp_path, State(pid=1, page="", base_url="", stream_url="", key_file="", processes=rows))
    assert main(["ps", "--data", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["kafka", "kafka", "7", "client=1", "ready"]
    assert lines[2].split() == ["gateway-1", "gateway", "-", "http=2", "metrics=3", "restarting"]
    assert main(["ps", "--json", "--data", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)[1] == {
        "name": "gateway-1",
        "role": "gateway",
        "pid": None,
        "ports": {"http": 2, "metrics": 3},
        "state": "restarting",
    }
    data.release()
