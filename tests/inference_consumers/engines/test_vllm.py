import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from inference_consumers.engines import vllm
from inference_consumers.engines.port import EngineLoad
from inference_consumers.engines.settings import VllmSettings
from inference_consumers.engines.vllm import VllmEngine
from schemas.errors import ContextTooLarge, EngineDead
from tests.support.engine_contract import asking

# What needs a real vLLM is in tests/journeys/test_vllm_engine.py: it takes minutes of CPU.


async def test_an_engine_that_was_not_started_is_dead_and_counts_all_the_same(model_dir: Path) -> None:
    """Counting and refusing need no vLLM; generating does."""
    engine = VllmEngine(model_dir, VllmSettings(max_model_len=64, slots=3))
    assert engine.load() == EngineLoad(slots=3, running=0, waiting=0)
    assert engine.prompt_tokens(asking("Hi").messages) > 20
    with pytest.raises(ContextTooLarge, match="the model reads 64"):
        await anext(engine.generate(asking("many words " * 64)))
    with pytest.raises(EngineDead, match="not running"):
        await anext(engine.generate(asking("Hi")))
    await engine.stop()


def test_load_takes_what_vllm_tells_and_misses_nothing_it_does_not() -> None:
    """Known fields are copied; a field that a version lacks counts as nothing."""
    before = EngineLoad(slots=3, running=9, waiting=9)
    told = SimpleNamespace(num_running_reqs=2, num_waiting_reqs=1, num_skipped_waiting_reqs=1, kv_cache_usage=0.5)
    assert vllm._load_of(told, before) == EngineLoad(slots=3, running=2, waiting=2, kv_usage=0.5)
    assert vllm._load_of(SimpleNamespace(), before) == EngineLoad(slots=3, running=0, waiting=0)


def test_the_environment_keeps_what_an_operator_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our defaults fill what is not set, and nothing else."""
    monkeypatch.setattr(os, "environ", {"VLLM_LOGGING_LEVEL": "DEBUG"})
    vllm._set_environment(VllmSettings(cpu_kv_cache_mb=2048, cpu_threads="0-1"))
    assert os.environ["VLLM_LOGGING_LEVEL"] == "DEBUG"
    assert os.environ["VLLM_CPU_KVCACHE_SPACE"] == "2"
    assert os.environ["VLLM_CPU_OMP_THREADS_BIND"] == "0-1"
