"""The engines by name. Each is imported only when one is made: a base install has neither torch nor vLLM."""

from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from inference_consumers.engines.port import Engine
from inference_consumers.engines.settings import OpenAISettings, SimulatedSettings, TorchSettings, VllmSettings
from infra.runtime.default_model import MODEL_NAME
from infra.runtime.word_model import SIMULATED
from schemas.errors import SettingsError


class EngineKind(StrEnum):
    """What `--engine` takes."""

    AUTO = "auto"
    TORCH = "torch"
    VLLM = "vllm"
    OPENAI = "openai"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """The settings of all engines; each reads its own."""

    torch: TorchSettings = field(default_factory=TorchSettings)
    vllm: VllmSettings = field(default_factory=VllmSettings)
    openai: OpenAISettings = field(default_factory=OpenAISettings)
    simulated: SimulatedSettings = field(default_factory=SimulatedSettings)


def chosen(kind: EngineKind) -> tuple[EngineKind, str]:
    """What `auto` stands for on this machine, and a line that says so (empty where nothing was chosen)."""
    if kind is not EngineKind.AUTO:
        return kind, ""
    if find_spec("torch") and find_spec("transformers"):
        return EngineKind.TORCH, f"engine: torch, on {MODEL_NAME}"
    return EngineKind.SIMULATED, (
        "engine: simulated, because torch is not installed here (its answers are made up; pip install 'parley[torch]')"
    )


def needs_model(kind: EngineKind) -> bool:
    """Whether the engine reads a model directory."""
    return kind in {EngineKind.TORCH, EngineKind.VLLM}


def make_engine(kind: EngineKind, settings: EngineSettings, model: Path | None = None) -> Engine:
    """An engine, not yet started.

    Args:
        model: the model directory; None for engines without one.

    Raises:
        SettingsError: the engine needs a model directory and has none, or a broken one.
    """
    kind, _line = chosen(kind)
    if kind is EngineKind.SIMULATED:
        from inference_consumers.engines.simulated import SimulatedEngine

        return SimulatedEngine(settings.simulated)
    if kind is EngineKind.OPENAI:
        from inference_consumers.engines.openai import OpenAIEngine

        return OpenAIEngine(settings.openai)
    if model is None or str(model) == SIMULATED:
        raise SettingsError(f"the engine {kind.value} needs a model directory")
    if kind is EngineKind.TORCH:
        from inference_consumers.engines.torch import TorchEngine

        return TorchEngine(model, settings.torch)
    from inference_consumers.engines.vllm import VllmEngine

    return VllmEngine(model, settings.vllm)
