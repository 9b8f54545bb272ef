"""What everybody else reads of a turn, as pure functions of its log: the turn record and the usage record.

Whoever computes them, whenever, gets the same bytes with the same `id` (contract, "One turn", the promise).
"""

from dataclasses import fields, replace
from typing import Any, Final

from schemas import instants
from schemas.errors import InvariantBroken
from schemas.fold import TurnFold
from schemas.records import TurnCompleted, TurnEnded, UsageColumns, UsageRecorded
from schemas.turns import LogAddress

_ENVELOPE: Final = ("tenant", "conversation", "turn", "attempt")
_FROM_END: Final = (
    "user", "key_id", "pool", "deployment", "model", "model_version", "tier", "cost_class", "reason",
    "prompt_tokens", "cached_tokens", "withheld_tokens", "discarded_tokens", "accepted_at",
)  # fmt: skip


def completed(fold: TurnFold, log: LogAddress) -> TurnCompleted:
    """The whole turn, once its `turn.ended` was taken. Raises InvariantBroken before."""
    end = _end(fold)
    return TurnCompleted(
        id=f"{end.turn}.completed",
        **_columns(fold, end),
        n=end.n,
        parent=end.parent,
        input_text=end.input_text if end.stored else None,
        output_text=fold.text if end.stored else None,
        interventions=end.interventions,
        degraded=end.degraded,
        stored=end.stored,
        log=log,
        log_start=end.log_start,
        log_end=fold.end_offset,
        detail=end.detail if end.stored else replace(end.detail, instructions=None, metadata={}),
    )


def usage(fold: TurnFold) -> UsageRecorded | None:
    """What the turn cost; None for a turn that was never claimed."""
    end = _end(fold)
    return UsageRecorded(id=f"{end.turn}.usage", **_columns(fold, end)) if fold.claim is not None else None


def usage_of(turn: TurnCompleted) -> UsageColumns:
    """The columns that both records share, out of a turn record."""
    return UsageColumns(**{field.name: getattr(turn, field.name) for field in fields(UsageColumns)})


def _end(fold: TurnFold) -> TurnEnded:
    if fold.ended is None:
        raise InvariantBroken(f"{fold.turn} was projected before its end")
    return fold.ended


def _columns(fold: TurnFold, end: TurnEnded) -> dict[str, Any]:
    copied = {name: getattr(end, name) for name in _ENVELOPE + _FROM_END}
    made = fold.delivered_tokens + end.withheld_tokens + fold.regenerated_tokens + end.discarded_tokens
    return copied | {
        "at": end.at,
        "attempts": fold.cursor.attempt,
        "generated_tokens": made,
        "delivered_tokens": fold.delivered_tokens,
        "regenerated_tokens": fold.regenerated_tokens,
        "started_at": fold.started_at,
        "first_token_at": fold.first_token_at,
        "ended_at": end.at,
        "queue_ms": _since(end.accepted_at, fold.started_at or end.at),
        "ttft_ms": _since(end.accepted_at, fold.first_token_at),
        "duration_ms": _since(end.accepted_at, end.at),
    }


def _since(start: str, stop: str | None) -> int:
    """Milliseconds from start to stop, 0 when it never came. Clocks differ, a bill is never negative."""
    return 0 if stop is None else max(0, instants.to_ms(stop) - instants.to_ms(start))
