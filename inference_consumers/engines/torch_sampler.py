"""The next token of each turn from the model's scores, independent of what else is in the batch.

Chance comes from (seed, place in the answer) alone: a turn taken over by another worker draws on as it would have.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import torch

_LIKELIEST: Final = 1024  # tokens: nearly always hold top_p of the probability; sorting all 49 152 takes 3 ms a turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How one turn draws.

    Args:
        temperature: 0 is greedy. top_p: in (0, 1].
        seed: any text.
    """

    temperature: float
    top_p: float
    seed: str
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


def draw(scores: Any, samplings: Sequence[Sampling], answers: Sequence[Sequence[int]]) -> list[int]:
    """The next token of each turn.

    Args:
        scores: float `[turns, vocabulary]`, on the model's device.
        answers: the tokens of each answer so far.
    """
    best: list[int] = scores.argmax(dim=-1).tolist()
    for row, (sampling, answer) in enumerate(zip(samplings, answers, strict=True)):
        penalised = bool(sampling.presence_penalty or sampling.frequency_penalty)
        if sampling.temperature == 0 and not penalised:
            continue
        one = _penalised(scores[row].float(), sampling, answer) if penalised else scores[row].float()
        best[row] = int(one.argmax()) if sampling.temperature == 0 else _drawn(one, sampling, len(answer))
    return best


def chance(seed: str, place: int) -> float:
    """A number in [0, 1) that belongs to this place of this seed's answer."""
    return (int.from_bytes(sha256(f"{seed}:{place}".encode()).digest()[:8], "big") >> 11) / (1 << 53)


def _penalised(scores: Any, sampling: Sampling, answer: Sequence[int]) -> Any:
    """OpenAI's penalties: what the answer already holds scores less."""
    counts = Counter(answer)
    if not counts:
        return scores
    ids = torch.tensor(list(counts), device=scores.device)
    often = torch.tensor(list(counts.values()), device=scores.device, dtype=scores.dtype)
    lowered = scores.clone()
    lowered[ids] -= sampling.presence_penalty + sampling.frequency_penalty * often
    return lowered


def _drawn(scores: Any, sampling: Sampling, place: int) -> int:
    # Doubles: a sum over 49 152 floats would be off by more than the rarer tokens weigh.
    shares = torch.softmax(scores.double() / sampling.temperature, dim=-1)
    ids = None
    if sampling.top_p < 1:
        shares, ids = _nucleus(shares, sampling.top_p)
    sums = shares.cumsum(-1)
    drawn = chance(sampling.seed, place) * float(sums[-1])
    found = min(int(torch.searchsorted(sums, drawn, right=True)), len(sums) - 1)
    return found if ids is None else int(ids[found])


def _nucleus(shares: Any, top_p: float) -> tuple[Any, Any]:
    """The likeliest tokens that hold `top_p` together, likeliest first, and their ids."""
    ordered, ids = shares.topk(min(_LIKELIEST, shares.shape[-1]))
    if float(ordered.sum()) < top_p:
        ordered, ids = shares.sort(descending=True)
    kept = int((ordered.cumsum(-1) - ordered < top_p).sum())
    return ordered[:kept], ids[:kept]
