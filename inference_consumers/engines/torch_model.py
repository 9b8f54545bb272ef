"""A transformers model, run over stretches of many turns at once.

All stretches of a step go through the model as one row of tokens, so that the matrix products are shared; attention
alone is taken turn by turn, over that turn's own keys and values. Nothing is padded, and no turn sees another.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch.nn.functional import scaled_dot_product_attention

from inference_consumers.engines.settings import TorchSettings
from inference_consumers.engines.torch_cache import CacheShape, TurnCache
from inference_consumers.engines.turn_schedule import Stretch
from schemas.errors import EngineDead

_ATTENTION: Final = "parley"  # our name among transformers' attention functions


class TorchModel:
    """The weights and how they are run. Used by one thread only.

    Args:
        directory: as Hugging Face lays models out.

    Raises:
        EngineDead: transformers can't load it, or it needs an attention that we don't have.
    """

    def __init__(self, directory: Path, settings: TorchSettings) -> None:
        # More threads than 16 wait for each other longer than they compute on a model that fits a CPU.
        torch.set_num_threads(settings.threads or min(os.cpu_count() or 1, 16))
        self._device = torch.device(settings.device)
        self._model = _load(directory, getattr(torch, settings.dtype)).to(self._device)
        config = self._model.config
        self.shape: Final = CacheShape(
            layers=config.num_hidden_layers,
            kv_heads=config.num_key_value_heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            dtype=self._model.dtype,
            device=self._device,
        )

    def compute(self, stretches: Sequence[Stretch]) -> Any:
        """Read the stretches into their turns' memories.

        Returns:
            Scores `[turns, vocabulary]` for the token behind each stretch that is its turn's last, in order.
        """
        ids: list[int] = []
        places: list[int] = []
        last: list[int] = []
        for stretch in stretches:
            turn, begin, end = stretch.turn, stretch.turn.computed, stretch.turn.computed + stretch.tokens
            if turn.memory is None:
                turn.memory = TurnCache(self.shape)
            turn.memory.reserve(turn.allocated, begin)
            ids.extend(turn.ids[begin:end])
            places.extend(range(begin, end))
            if stretch.is_last:
                last.append(len(ids) - 1)
        with torch.inference_mode():
            result = self._model(
                input_ids=torch.tensor([ids], device=self._device),
                position_ids=torch.tensor([places], device=self._device),
                logits_to_keep=torch.tensor(last, dtype=torch.long, device=self._device),
                use_cache=False,
                stretches=stretches,
            )
        return result.logits[0]


def _load(directory: Path, dtype: Any) -> Any:
    # All files are local: without this a missing optional one would be looked for on the network.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForCausalLM
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    ALL_ATTENTION_FUNCTIONS.register(_ATTENTION, _attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(_ATTENTION, _no_mask)
    try:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation=_ATTENTION)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise EngineDead(f"the model in {directory} can't be loaded: {error}") from error
    if "sliding_attention" in (getattr(model.config, "layer_types", None) or ()):
        raise EngineDead(f"the model in {directory} attends through sliding windows; serve it by --engine vllm")
    return model.eval()


def _no_mask(*_given: object, **_named: object) -> None:
    """One mask for the whole row of tokens would let turns see each other; `_attend` makes its own."""


def _attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    _mask: Any,
    *,
    scaling: float,
    stretches: Sequence[Stretch],
    **_named: object,
) -> tuple[Any, None]:
    """Attention of one layer, turn by turn.

    Args:
        query: `[1, heads, tokens, head dim]`; key, value: `[1, kv heads, tokens, head dim]`, of this step's tokens.

    Returns:
        `[1, tokens, heads, head dim]`, and None in place of weights that nobody asks for.
    """
    heads, tokens, width = query.shape[1:]
    result = torch.empty((tokens, heads, width), dtype=query.dtype, device=query.device)
    first = 0
    for stretch in stretches:
        turn, behind = stretch.turn, first + stretch.tokens
        keys, values = turn.memory.layer(module.layer_idx)
        begin, end = turn.computed, turn.computed + stretch.tokens
        keys[:, begin:end] = key[0, :, first:behind]
        values[:, begin:end] = value[0, :, first:behind]
        attend = _attend_one if stretch.tokens == 1 else _attend_many
        result[first:behind] = attend(query[:, :, first:behind], keys[None, :, :end], values[None, :, :end], scaling)
        first = behind
    return result[None], None


def _attend_one(query: Any, keys: Any, values: Any, scaling: float) -> Any:
    """One token sees all before it. Heads that share keys stand as rows of one query, so keys are not repeated."""
    _one, heads, _tokens, width = query.shape
    shared = query.reshape(1, keys.shape[1], heads // keys.shape[1], width)
    return scaled_dot_product_attention(shared, keys, values, scale=scaling).reshape(1, heads, width)


def _attend_many(query: Any, keys: Any, values: Any, scaling: float) -> Any:
    """Each token of a stretch sees what is before it and itself."""
    tokens, known = query.shape[2], keys.shape[2]
    seen = torch.ones((tokens, known), dtype=torch.bool, device=query.device).tril(known - tokens)
    found = scaled_dot_product_attention(query, keys, values, attn_mask=seen, scale=scaling, enable_gqa=True)
    return found[0].transpose(0, 1)
