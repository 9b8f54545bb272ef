import subprocess
import sys
from pathlib import Path

import pytest

from inference_consumers.engines import catalogue
from inference_consumers.engines.catalogue import EngineKind, EngineSettings, chosen, make_engine, needs_model
from schemas.errors import SettingsError


@pytest.mark.parametrize("kind", [kind for kind in EngineKind if kind is not EngineKind.AUTO])
def test_every_engine_is_made_by_its_name(kind: EngineKind, model_dir: Path) -> None:
    """The catalogue makes each kind, with a model directory where the kind needs one."""
    engine = make_engine(kind, EngineSettings(), model_dir)
    assert type(engine).__module__ == f"inference_consumers.engines.{kind.value}"


def test_auto_takes_torch_and_says_when_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is torch where torch is, else the simulated engine, with a line that tells a newcomer."""
    assert chosen(EngineKind.AUTO)[0] is EngineKind.TORCH
    assert chosen(EngineKind.VLLM) == (EngineKind.VLLM, "")
    monkeypatch.setattr(catalogue, "find_spec", lambda _name: None)
    kind, line = chosen(EngineKind.AUTO)
    assert kind is EngineKind.SIMULATED
    assert "torch is not installed" in line


def test_an_engine_that_needs_a_model_says_so() -> None:
    """Engines with weights without a directory are refused before anything is loaded."""
    for kind in (EngineKind.TORCH, EngineKind.VLLM):
        assert needs_model(kind)
        with pytest.raises(SettingsError, match="model directory"):
            make_engine(kind, EngineSettings())
    assert not needs_model(EngineKind.SIMULATED)


def test_making_the_simulated_engine_imports_no_torch() -> None:
    """A base install has neither torch nor vLLM: nothing on the way to the simulated engine may want them."""
    script = (
        "import sys; from inference_consumers.engines.catalogue import *;"
        "make_engine(EngineKind.SIMULATED, EngineSettings());"
        "make_engine(EngineKind.OPENAI, EngineSettings());"
        "print(sorted({'torch', 'transformers', 'vllm', 'numpy', 'gguf'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
