"""What an `up` was asked for."""

import argparse
from pathlib import Path

import pytest

from infra.cli import up
from infra.cli.supervision.chosen import options_of
from infra.cli.supervision.plan import Options
from infra.runtime.settings import SettingsSource
from schemas.errors import SettingsError

FILE = """
[gateway]
host = "127.0.0.3"
port = 9001
stream_port = 443
[delivery]
host = "127.0.0.4"
port = 9002
[inference]
engine = "openai"
[service]
host = "127.0.0.5"
"""


def chosen(*words: str, file: Path | None = None, environ: dict[str, str] | None = None) -> Options:
    parser = argparse.ArgumentParser()
    up.add_arguments(parser)
    return options_of(parser.parse_args(words), SettingsSource(file, environ or {}), lambda _line: None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings' file that says each of them."""
    path = tmp_path / "parley.toml"
    path.write_text(FILE)
    return path


def test_without_a_flag_the_settings_decide(file: Path) -> None:
    """The file, and above it the environment."""
    options = chosen(file=file, environ={"PARLEY_GATEWAY_PORT": "9003", "PARLEY_INFERENCE_ENGINE": "simulated"})
    assert (options.host, options.port) == ("127.0.0.3", 9003)
    assert (options.stream_host, options.stream_port) == ("127.0.0.4", 9002)
    assert (options.engine, options.service_host) == ("simulated", "127.0.0.5")
    assert options.told_stream_port == 443


def test_a_flag_wins(file: Path) -> None:
    """`--host` is of all that is public; what is internal stays where it was."""
    words = ("--host", "0.0.0.0", "--port", "1", "--stream-port", "2", "--engine", "vllm")  # noqa: S104
    options = chosen(*words, file=file, environ={"PARLEY_GATEWAY_PORT": "9003"})
    assert (options.host, options.port) == ("0.0.0.0", 1)  # noqa: S104
    assert (options.stream_host, options.stream_port) == ("0.0.0.0", 2)  # noqa: S104
    assert (options.engine, options.service_host) == ("vllm", "127.0.0.5")


def test_without_either_the_defaults_hold() -> None:
    """Nothing given: the contract's ports, one of each."""
    assert chosen("--engine", "simulated") == Options()


def test_any_port_is_two_ports() -> None:
    """Port 0 in the settings is any: page and stream get one each."""
    options = chosen("--engine", "simulated", environ={"PARLEY_GATEWAY_PORT": "0", "PARLEY_DELIVERY_PORT": "0"})
    assert 0 not in {options.port, options.stream_port}
    assert options.port != options.stream_port


def test_an_engine_that_answers_nothing_is_refused() -> None:
    """`closing` is what `up` runs beside the pool that answers."""
    with pytest.raises(SettingsError, match=r"\[inference\] engine: 'closing' answers nothing"):
        chosen(environ={"PARLEY_INFERENCE_ENGINE": "closing"})
