"""Which deployments an `up` publishes: the pool that answers, and the one that ends turns without an engine."""

from collections.abc import Callable
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

ENGINES: Final = ("auto", "torch", "vllm", "openai", "simulated")


def resolve_engine(wanted: str, say: Callable[[str], None]) -> str:
    """Return the engine for `--engine`: `auto` is torch where it is installed, else the simulated one, and says so."""
    if wanted != "auto":
        return wanted
    if find_spec("torch") is not None and find_spec("transformers") is not None:
        return "torch"
    say("No torch here: answers are simulated. For a real model: pip install 'parley[torch]'")
    return SIMULATED


def deployments_of(options: Options, source: SettingsSource, say: Callable[[str], None]) -> tuple[DeploymentSet, ...]:
    """Return the records to publish; makes the default model ready if its engine needs it.

    Raises:
        ParleyError: the model can't be made ready.
    """
    del source
    at_ms = SYSTEM.wall_ms()
    path: Path | None = None
    if options.engine in {"torch", "vllm"}:
        path = ensure_default_model(cache_dir(), say)
    model = open_model(path or SIMULATED)
    return (
        DeploymentSet(
            id=f"deployment-{DEFAULT_POOL}-{at_ms}",
            at=instants.from_ms(at_ms),
            pool=DEFAULT_POOL,
            deployment=f"{model.name}-{options.engine}",
            model=model.name,
            model_version=model.version,
            engine=options.engine,
            max_model_len=model.max_model_len,
            model_path=None if path is None else str(path),
        ),
        DeploymentSet(
            id=f"deployment-{CLOSING_POOL}-{at_ms}",
            at=instants.from_ms(at_ms),
            pool=CLOSING_POOL,
            deployment=CLOSING_POOL,
            model=CLOSING_POOL,
            model_version="1",
            engine=CLOSING_POOL,
            max_model_len=model.max_model_len,
        ),
    )
