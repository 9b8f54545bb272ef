"""Settings of the engines: a section each."""

from dataclasses import dataclass, field
from typing import Any, Literal


def _told(default: Any, doc: str, *, secret: bool = False) -> Any:
    """A field with what it means, for docs/settings.md."""
    return field(default=default, metadata={"doc": doc, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSettings:
    """`[simulated]`: an engine without a model, for load, faults and teaching."""

    ttft_ms: float = _told(50.0, "from taking a turn into a slot to its first token")
    tokens_per_s: float = _told(50.0, "of each slot; 0: no waiting between tokens")
    slots: int = _told(64, "turns that run at once")
    max_model_len: int = _told(8192, "tokens of prompt and answer together")
    fail_rate: float = _told(0.0, "share of generations, 0 to 1, that fail and may be tried again")
    stall_rate: float = _told(0.0, "share that stop making tokens and never end")
    die_rate: float = _told(0.0, "share that bring the whole engine down")
    poison_text: str = _told(
        "", "a last message with this text in it brings the whole engine down, each time; empty: none does"
    )
    fault_after_tokens: int = _told(3, "how many tokens a generation makes before it goes wrong")


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchSettings:
    """`[torch]`: a transformers model that we step ourselves."""

    slots: int = _told(32, "turns that run at once; 32 make a step of 0.3 s on two cores, the slowest that reads well")
    threads: int = _told(0, "threads of the matrix products; 0: one a core, at most 16")
    device: str = _told("cpu", "torch's name of where the model runs: `cpu`, `cuda`, `cuda:1`, `mps`")
    dtype: Literal["float32", "bfloat16", "float16"] = _told(
        "float32", "of weights and cache; on CPUs without instructions of their own for it, bfloat16 is slower"
    )
    kv_cache_mb: int = _told(
        1024, "memory for keys and values of running turns and kept prompts; 46 KB a token of SmolLM2"
    )
    prefill_tokens: int = _told(
        64,
        "most prompt tokens read in a step, so that running turns wait for no long prompt; on a GPU, 512 read faster",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """`[vllm]`: vLLM's AsyncLLM in the worker's process."""

    slots: int = _told(64, "turns that run at once (vLLM's max_num_seqs)")
    max_model_len: int = _told(0, "tokens of prompt and answer together; 0: the model's own")
    dtype: str = _told("auto", "of the weights; `auto`: the model's own")
    enforce_eager: bool = _told(False, "compile nothing: ready sooner, slower on GPUs")
    gpu_memory_utilization: float = _told(0.9, "share of a GPU's memory that vLLM may take")
    tensor_parallel_size: int = _told(1, "GPUs that share one model")
    cpu_kv_cache_mb: int = _told(1024, "memory for keys and values where vLLM runs on CPUs, in whole GiB, at least 1")
    cpu_threads: str = _told("", "cores that it binds there, such as `0-1`; empty: vLLM's choice")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAISettings:
    """`[openai]`: any server that speaks OpenAI's dialect."""

    base_url: str = _told("http://127.0.0.1:8000/v1", "up to and with `/v1`")
    api_key: str = _told("", "sent as bearer token; empty: none", secret=True)
    model: str = _told("", "the model to name; empty: the first that the server lists")
    slots: int = _told(64, "requests that run at once")
    max_model_len: int = _told(0, "tokens of prompt and answer together; 0: what the server's list says, else 8192")
    connect_s: float = _told(5.0, "longest wait for a connection")
    silence_s: float = _told(60.0, "longest wait for the next bytes of an answer")
    continues: bool = _told(
        False, "the server goes on behind an assistant message at the prompt's end (vLLM's continue_final_message)"
    )
