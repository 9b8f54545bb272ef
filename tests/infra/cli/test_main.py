"""The command line as a whole: help everywhere, faults in one line, no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli.main import COMMANDS, main, parser


def outcome(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Status, output and errors of a command line."""
    try:
        status = main(words)
    except SystemExit as ended:
        status = int(ended.code or 0)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` says what the command is for, and ends with 0."""
    status, out, _ = outcome(capsys, command, "--help")
    assert status == 0
    assert COMMANDS[command].help[1:] in out.replace("\n", " ")


def test_the_root_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`parley --help` names them all."""
    _, out, _ = outcome(capsys, "--help")
    assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("frobnicate",),
        ("up", "--port", "none"),
        ("up", "--port", "0"),
        ("up", "--gateways", "0"),
        ("up", "--engine", "abacus"),
        ("up", "--por", "80"),
        ("key", "create"),
        ("key", "create", "--tenant", "Not A Name"),
        ("run", "cook"),
        ("topics",),
        ("up", "--config", "/nowhere/parley.toml"),
        ("policy", "push", "/nowhere.toml"),
        ("chat", "--base-url", "ftp://x", "--key", "k"),
        ("chat", "--base-url", "http://x"),
    ],
)
def test_a_wrong_word_is_one_line_and_status_2(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong is named in one line; nothing is printed where output belongs."""
    status, out, err = outcome(capsys, *words)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("parley")


def test_without_a_running_up_the_line_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Commands that need one name the directory they looked at."""
    for name in ("PARLEY_KAFKA_BOOTSTRAP", "PARLEY_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for words in (("key", "list"), ("topics", "list"), ("models", "list"), ("policy", "list"), ("run", "gateway")):
        status, _, err = outcome(capsys, *words, "--data", str(tmp_path))
        assert status == 2
        assert err.startswith(f"parley: nothing is running on {tmp_path}: start it with `parley up`")
    assert outcome(capsys, "chat", "--data", str(tmp_path))[0] == 2
    assert outcome(capsys, "ps", "--data", str(tmp_path))[:2] == (0, f"nothing is running on {tmp_path}\n")
    assert outcome(capsys, "ps", "--json", "--data", str(tmp_path))[:2] == (0, "[]\n")
    assert outcome(capsys, "down", "--data", str(tmp_path))[:2] == (0, f"nothing is running on {tmp_path}\n")


def test_a_command_loads_only_itself() -> None:
    """`parley ps` is quick: it imports neither a broker's client nor a web server."""
    act = "main(['ps', '--json', '--data', '/nowhere'])"
    script = f"import sys; from infra.cli.main import main; {act}; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"aiokafka", "aiohttp", "cassandra", "torch"} & set(done.stdout.split("'"))


def test_the_parser_can_be_filled_in_whole() -> None:
    """For the documentation: every subcommand with all its arguments."""
    assert parser().parse_args(["up"]).gateways == 1


def test_a_place_that_can_not_be_written_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The system's own words and the place; no traceback."""
    (tmp_path / "file").write_text("")
    status, _, err = outcome(capsys, "up", "--detach", "--data", str(tmp_path / "file" / "data"))
    assert status == 1
    assert err.splitlines() == [f"parley: Not a directory: {tmp_path}/file/data/log"]
