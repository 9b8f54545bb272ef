"""Which deployments an `up` publishes: the pool that answers, and the one that ends turns without an engine."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from infra.cli.supervision.plan import DEFAULT_POOL, Options
from infra.local.places import cache_dir
from infra.runtime.clock import SYSTEM
from infra.runtime.default_model import ensure_default_model
from infra.runtime.models import open_model
from infra.runtime.settings import SettingsSource
from infra.runtime.word_model import SIMULATED
from schemas import instants
from schemas.records import DeploymentSet
from schemas.topics import CLOSING_POOL

# What an upstream server can read when nobody says: the engine assumes the same.
UPSTREAM_TOKENS: Final = 8192
ENGINES: Final = ("auto", "torch", "vllm", "openai", "simulated")


def resolve_engine(wanted: str, say: Callable[[str], None]) -> str:
    """Return the engine for `--engine`: `auto` is torch where it is installed, else the simulated one, and says so."""
    if wanted != "auto":
        return wanted
    if find_spec("torch") is not None and find_spec("transformers") is not None:
        return "torch"
    say("No torch here: answers are simulated. For a real model: pip install 'parley[torch]'")
    return SIMULATED


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """What an engine will serve. `path`: of a model's files, None for engines without."""

    model: str
    version: str
    max_model_len: int
    path: Path | None = None


def deployments_of(options: Options, source: SettingsSource, say: Callable[[str], None]) -> tuple[DeploymentSet, ...]:
    """Return the records to publish; makes the default model ready if its engine needs it.

    Raises:
        ParleyError: the model can't be made ready, or a setting is wrong.
    """
    served = _served(options.engine, source, say)
    return (
        _deployment(DEFAULT_POOL, f"{served.model}-{options.engine}", options.engine, served),
        _deployment(
            CLOSING_POOL, CLOSING_POOL, CLOSING_POOL, replace(served, model=CLOSING_POOL, version="1", path=None)
        ),
    )


def _deployment(pool: str, name: str, engine: str, served: _Served) -> DeploymentSet:
    at_ms = SYSTEM.wall_ms()
    return DeploymentSet(
        id=f"deployment-{pool}-{at_ms}",
        at=instants.from_ms(at_ms),
        pool=pool,
        deployment=name,
        model=served.model,
        model_version=served.version,
        engine=engine,
        max_model_len=served.max_model_len,
        model_path=None if served.path is None else str(served.path),
    )


def _served(engine: str, source: SettingsSource, say: Callable[[str], None]) -> _Served:
    from inference_consumers.engines.settings import OpenAISettings, SimulatedSettings
    from inference_consumers.settings import InferenceSettings

    if engine == "openai":
        upstream = source.read(OpenAISettings, "openai")
        length = upstream.max_model_len or UPSTREAM_TOKENS
        return _Served(model=upstream.model or engine, version="1", max_model_len=length)
    if engine == SIMULATED:
        length = source.read(SimulatedSettings, "simulated").max_model_len
        return _Served(model=SIMULATED, version="1", max_model_len=length)
    configured = source.read(InferenceSettings, "inference").model_path
    path = configured or ensure_default_model(cache_dir(), say)
    model = open_model(path)
    return _Served(model=model.name, version=model.version, max_model_len=model.max_model_len, path=path)
