"""Settings of the engines: `[engine]` says which, and each has a section of its own."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSettings:
    """`[simulated]`: an engine without a model, for load, faults and teaching.

    Args:
        ttft_ms: from taking a turn into a slot to its first token.
        tokens_per_s: of each slot; 0 = no waiting between tokens.
        slots: turns that run at once.
        max_model_len: tokens of prompt and answer together.
        fail_rate: share of generations, 0 to 1, that fail and may be tried again.
        stall_rate: share that stop making tokens and never end.
        die_rate: share that bring the whole engine down.
        fault_after_tokens: how many tokens such a generation makes before.
    """

    ttft_ms: float = 50.0
    tokens_per_s: float = 50.0
    slots: int = 64
    max_model_len: int = 8192
    fail_rate: float = 0.0
    stall_rate: float = 0.0
    die_rate: float = 0.0
    fault_after_tokens: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchSettings:
    """`[torch]`: a transformers model that we step ourselves.

    Args:
        slots: turns that run at once. 32: on two cores a step takes 0.2 s then, the slowest that still reads well.
        threads: of the matrix products; 0 = one a core, at most 16.
        device: `cpu`, `cuda`, `mps` or torch's `cuda:1`.
        dtype: of weights and cache. float32: bfloat16 is slower on CPUs without its own instructions.
        kv_cache_mb: memory for keys and values of running turns and of kept prompts; 46 KB a token of SmolLM2.
        prefill_tokens: most prompt tokens read in one step, so that running turns wait for no long prompt. 64: larger
            steps read no faster on CPUs (tests/bench/bench_engines.py); on a GPU, 512 and more do.
    """

    slots: int = 32
    threads: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    kv_cache_mb: int = 1024
    prefill_tokens: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """`[vllm]`: vLLM's AsyncLLM in this process.

    Args:
        slots: turns that run at once (vLLM's max_num_seqs).
        max_model_len: 0 = the model's own.
        dtype: `auto` = the model's own.
        enforce_eager: True compiles nothing: ready sooner, slower on GPUs.
        gpu_memory_utilization: share of a GPU's memory that vLLM may take.
        tensor_parallel_size: GPUs that share one model.
        cpu_kv_cache_mb: memory for keys and values where vLLM runs on CPUs.
        cpu_threads: cores it binds there; empty = vLLM's choice, `0-1` names them.
    """

    slots: int = 64
    max_model_len: int = 0
    dtype: str = "auto"
    enforce_eager: bool = False
    gpu_memory_utilization: float = 0.9
    tensor_parallel_size: int = 1
    cpu_kv_cache_mb: int = 1024
    cpu_threads: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAISettings:
    """`[openai]`: any server that speaks OpenAI's dialect.

    Args:
        base_url: up to and with `/v1`.
        api_key: sent as bearer token; empty = none.
        model: the model to name; empty = the first that the server lists.
        slots: requests that run at once.
        max_model_len: tokens of prompt and answer together; 0 = what the server's model list says, else 8192.
        connect_s: longest wait for a connection.
        silence_s: longest wait for the next bytes of an answer.
        continues: True where the server goes on behind an assistant message at the end of the prompt
            (vLLM's continue_final_message): a taken-over turn then goes on, else it begins anew.
    """

    base_url: str = "http://127.0.0.1:8000/v1"
    api_key: str = field(default="", metadata={"secret": True})
    model: str = ""
    slots: int = 64
    max_model_len: int = 0
    connect_s: float = 5.0
    silence_s: float = 60.0
    continues: bool = False
