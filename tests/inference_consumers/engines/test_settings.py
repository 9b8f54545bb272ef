import dataclasses

import pytest

from inference_consumers.engines import settings
from infra.runtime.settings import SettingsSource

SECTIONS = {
    "simulated": settings.SimulatedSettings,
    "torch": settings.TorchSettings,
    "vllm": settings.VllmSettings,
    "openai": settings.OpenAISettings,
}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_engine_setting_can_be_read_and_is_told(section: str) -> None:
    """An empty source gives the defaults, and each field says what it means."""
    kind = SECTIONS[section]
    assert SettingsSource(environ={}).read(kind, section) == kind()
    assert all(field.metadata["doc"] for field in dataclasses.fields(kind))


def test_an_engines_settings_come_from_the_environment() -> None:
    """`[simulated] ttft_ms` is PARLEY_SIMULATED_TTFT_MS."""
    read = SettingsSource(environ={"PARLEY_SIMULATED_TTFT_MS": "5"}).read(settings.SimulatedSettings, "simulated")
    assert read.ttft_ms == 5.0
