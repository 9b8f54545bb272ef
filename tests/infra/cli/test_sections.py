"""What the command line refuses of settings before it does anything."""

from pathlib import Path

import pytest

from infra.cli.sections import check, refuse_unknown
from infra.runtime.settings import SettingsSource
from schemas.errors import SettingsError


def test_strangers_are_refused(tmp_path: Path) -> None:
    """A section or variable that nobody reads is named, with what was probably meant."""
    file = tmp_path / "parley.toml"
    file.write_text("[gatewy]\nport = 1\n")
    with pytest.raises(SettingsError) as error:
        refuse_unknown(SettingsSource(file, {"PARLEY_KAFKKA_LANES": "1"}))
    assert str(error.value).splitlines() == [
        f"{file} [gatewy]: unknown; did you mean gateway?",
        "PARLEY_KAFKKA_LANES: unknown; did you mean PARLEY_KAFKA_…?",
    ]


def test_faults_of_every_service_are_told_at_once() -> None:
    """A wrong value of any section is found before a process is started for it; what is right passes."""
    check(SettingsSource(environ={}))
    wrong = {"PARLEY_GATEWAY_PORT": "x", "PARLEY_DELIVERY_PORT": "y", "PARLEY_KAFKA_LANES": "0"}
    with pytest.raises(SettingsError) as error:
        check(SettingsSource(environ=wrong))
    assert len(str(error.value).splitlines()) == 3
