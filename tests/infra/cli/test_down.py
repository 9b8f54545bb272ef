"""Ending a running `up`."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli import down
from infra.cli.main import main

OWNER = """
import signal, sys
from pathlib import Path
from infra.local.data_dir import DataDir
data = DataDir(Path(sys.argv[1]))
data.claim("parley")
signal.signal(signal.SIGTERM, {answer})
print("owns", flush=True)
while True:
    signal.pause()
"""


def owner(data: Path, answer: str) -> "subprocess.Popen[str]":
    """Start a process that owns the directory; return when it does."""
    command = [sys.executable, "-c", OWNER.format(answer=answer), str(data)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "owns\n"
    return started


def test_it_returns_when_the_owner_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SIGTERM to the owner, and nothing is left when the command returns."""
    process = owner(tmp_path, "lambda *_: sys.exit(0)")
    assert main(["down", "--data", str(tmp_path)]) == 0
    assert process.wait(10) == 0
    assert capsys.readouterr().out == f"ended what ran on {tmp_path}\n"
    process.communicate()


def test_an_owner_that_does_not_end_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the limit: status 1, the pid and where the logs are."""
    process = owner(tmp_path, "signal.SIG_IGN")
    monkeypatch.setattr(down, "LIMIT_S", 0.2)
    assert main(["down", "--data", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told == f"parley: process {process.pid} on {tmp_path} has not ended within 0.2 s: see {tmp_path}/log\n"
    process.kill()
    process.communicate()
