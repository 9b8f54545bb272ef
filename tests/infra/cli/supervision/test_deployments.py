"""What an `up` says that its pools serve."""

from pathlib import Path

import pytest

from infra.cli.supervision import deployments
from infra.cli.supervision.deployments import deployments_of, resolve_engine
from infra.cli.supervision.plan import Options
from infra.runtime.settings import SettingsSource


def test_without_torch_auto_is_simulated_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes made-up answers for a model's: the line names what to install."""
    said: list[str] = []
    monkeypatch.setattr(deployments, "find_spec", lambda _: None)
    assert resolve_engine("auto", said.append) == "simulated"
    assert "answers are simulated" in said[0]
    monkeypatch.setattr(deployments, "find_spec", lambda _: object())
    assert resolve_engine("auto", said.append) == "torch"
    assert resolve_engine("openai", said.append) == "openai"
    assert len(said) == 1


def test_the_simulated_engine_serves_as_much_as_its_settings_say() -> None:
    """The budget that enrichment keeps is the engine's own."""
    source = SettingsSource(environ={"PARLEY_SIMULATED_MAX_MODEL_LEN": "1234"})
    default, closing = deployments_of(Options(engine="simulated"), source, print)
    assert (default.pool, default.model, default.max_model_len, default.model_path) == (
        "default",
        "simulated",
        1234,
        None,
    )
    assert (closing.pool, closing.engine) == ("closing", "closing")


def test_an_upstream_server_is_named_by_its_model() -> None:
    """The model's name is the one that is asked for there."""
    source = SettingsSource(environ={"PARLEY_OPENAI_MODEL": "big", "PARLEY_OPENAI_MAX_MODEL_LEN": "99"})
    default, _ = deployments_of(Options(engine="openai"), source, print)
    assert (default.deployment, default.model, default.max_model_len) == ("big-openai", "big", 99)


def test_torch_makes_the_default_model_ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The model's directory travels with the deployment, its version and length are read from it."""

    class Files:
        name, version, max_model_len = "tiny", "v1", 77

    monkeypatch.setattr(deployments, "ensure_default_model", lambda _cache, _say: tmp_path)
    monkeypatch.setattr(deployments, "open_model", lambda _path: Files)
    default, _ = deployments_of(Options(engine="torch"), SettingsSource(environ={}), print)
    assert (default.model, default.model_version, default.max_model_len) == ("tiny", "v1", 77)
    assert default.model_path == str(tmp_path)
