"""What several subcommands ask for."""

import argparse
from pathlib import Path

import pytest

from infra.cli.arguments import count, data_dir, name, port, source
from infra.cli.supervision.state import State, write_state
from infra.local.data_dir import DataDir
from infra.runtime.kafka_settings import KafkaSettings
from schemas.errors import SettingsError


def given(data: Path | None = None, config: Path | None = None) -> argparse.Namespace:
    return argparse.Namespace(data=data, config=config)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PARLEY_DATA", "PARLEY_CONFIG", "PARLEY_KAFKA_BOOTSTRAP", "PARLEY_KAFKA_TOPIC_PREFIX"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """A directory on which an `up` runs, as its state says."""
    data = DataDir(tmp_path / "data")
    data.claim("parley")
    settings = {"kafka.bootstrap": "127.0.0.1:7", "kafka.topic_prefix": "x-", "cassandra.port": "8"}
    state = State(pid=1, page="", base_url="", stream_url="", key_file="", settings=settings)
    write_state(data.path, state)
    return data.path


def test_a_flag_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--data`, then PARLEY_DATA, then the user's own directory."""
    monkeypatch.setenv("XDG_DATA_HOME", "/x")
    assert data_dir(given()) == Path("/x/parley")
    monkeypatch.setenv("PARLEY_DATA", "/env")
    assert data_dir(given()) == Path("/env")
    assert data_dir(given(Path("/flag"))) == Path("/flag")


def test_what_runs_is_found_by_its_directory(running: Path) -> None:
    """Kafka is where the running `up` says."""
    assert source(given(running)).read(KafkaSettings, "kafka").bootstrap == "127.0.0.1:7"


def test_what_is_configured_wins_over_what_runs(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names a Kafka means it."""
    monkeypatch.setenv("PARLEY_KAFKA_BOOTSTRAP", "elsewhere:9092")
    assert source(given(running)).read(KafkaSettings, "kafka").bootstrap == "elsewhere:9092"


def test_what_says_no_place_leaves_it_to_what_runs(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of lanes names no Kafka; a prefix that was set here wins over the running one's."""
    monkeypatch.setenv("PARLEY_KAFKA_LANES", "3")
    found = source(given(running)).read(KafkaSettings, "kafka")
    assert (found.bootstrap, found.topic_prefix, found.lanes) == ("127.0.0.1:7", "x-", 3)
    monkeypatch.setenv("PARLEY_KAFKA_TOPIC_PREFIX", "y-")
    assert source(given(running)).read(KafkaSettings, "kafka").topic_prefix == "y-"
    with pytest.raises(SettingsError, match=r"nothing is running on .* or configure \[kafka\]"):
        source(given(running / "other"))


def test_unknown_sections_and_variables_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt section or variable is named, with the nearest one that exists."""
    config = tmp_path / "parley.toml"
    config.write_text("[kafak]\nbootstrap = 'x:1'\n")
    with pytest.raises(SettingsError, match=r"\[kafak\]: unknown; did you mean kafka\?"):
        source(given(tmp_path, config))
    config.write_text("")
    monkeypatch.setenv("PARLEY_KAFAK_BOOTSTRAP", "x:1")
    with pytest.raises(SettingsError, match="PARLEY_KAFAK_BOOTSTRAP: unknown"):
        source(given(tmp_path, config))


def test_numbers_and_names_are_checked() -> None:
    """What argparse takes is in its bounds."""
    assert (port("8080"), count(1, 3)("2"), name("acme-1")) == (8080, 2, "acme-1")
    for check, text in ((port, "65536"), (port, "-1"), (count(1, 3), "4"), (count(1, 3), "x"), (name, "A b")):
        with pytest.raises(argparse.ArgumentTypeError):
            check(text)
