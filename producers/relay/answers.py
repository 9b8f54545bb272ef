"""What an answer is made of, whether it comes from the request, the log or the store: what the dialects render."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from producers.relay.progress import Progress
from schemas import ids, instants
from schemas.ids import TurnId
from schemas.records import TurnCompleted, TurnEnded, TurnRequested
from schemas.turns import Failure, Options, Reason, Verdict

_REFUSED: Final = "This message can't be answered: it breaks a rule of this service."
FILTERED: Final = frozenset({Reason.REFUSED, Reason.WITHHELD})


@dataclass(frozen=True, slots=True, kw_only=True)
class Particulars:
    """What an answer repeats of its request.

    Args:
        created_at_ms: when the request was accepted.
        parent: the turn it follows, None = none or not known yet.
        is_background: None = nobody remembers.
    """

    turn: TurnId
    model: str
    created_at_ms: int
    user: str | None = None
    instructions: str | None = None
    options: Options = field(default_factory=Options)
    metadata: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    stored: bool = True
    is_background: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a turn ended.

    Args:
        refusal: the policy's sentence, where one stopped the turn.
        output_tokens: of the released answer.
    """

    reason: Reason
    error: Failure | None
    refusal: str | None
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    ended_at: str


def of_request(requested: TurnRequested, model: str, *, is_background: bool | None = None) -> Particulars:
    """The particulars of a turn that was only asked for."""
    if requested.turn is None:
        raise ValueError("a request names its turn")
    request = requested.request
    return Particulars(
        turn=requested.turn,
        model=model,
        created_at_ms=instants.to_ms(request.accepted_at),
        user=request.user,
        instructions=request.instructions,
        options=request.options,
        metadata=request.metadata,
        parent=request.parent if request.parent is not None and request.parent.startswith("resp_") else None,
        stored=request.stored,
        is_background=is_background,
    )


def of_log(progress: Progress, model: str) -> Particulars:
    """The particulars of a turn as its log tells them; more of them once it has ended.

    Args:
        model: what to say while no worker has started.
    """
    created_at_ms = ids.created_at_ms(progress.turn[37:])
    accepted, started, ended = progress.accepted, progress.started, progress.ended
    if ended is not None:
        return _of_end(ended, progress.turn, model)
    at_ms = instants.to_ms(accepted.at) if accepted is not None else 0
    return Particulars(
        turn=progress.turn,
        model=started.model if started is not None else model,
        created_at_ms=at_ms if created_at_ms is None else created_at_ms,
        user=accepted.user if accepted is not None else None,
        metadata=accepted.metadata if accepted is not None else {},
        parent=accepted.parent if accepted is not None else None,
        stored=accepted.stored if accepted is not None else True,
    )


def settled(particulars: Particulars, progress: Progress) -> Particulars:
    """The particulars with what the log knows better: who answered, and which turn this one follows."""
    known = particulars
    if progress.accepted is not None:
        known = replace(known, parent=progress.accepted.parent)
    if progress.started is not None:
        known = replace(known, model=progress.started.model)
    if progress.ended is not None:
        known = replace(known, parent=progress.ended.parent, model=progress.ended.model or known.model)
    return known


def _of_end(ended: TurnEnded, turn: TurnId, model: str) -> Particulars:
    return Particulars(
        turn=turn,
        model=ended.model or model,
        created_at_ms=instants.to_ms(ended.accepted_at),
        user=ended.user,
        instructions=ended.detail.instructions,
        options=ended.detail.options,
        metadata=ended.detail.metadata,
        parent=ended.parent,
        stored=ended.stored,
    )


def of_row(row: TurnCompleted, model: str) -> Particulars:
    """The particulars of a stored turn."""
    if row.turn is None:
        raise ValueError("a stored turn has its id")
    return Particulars(
        turn=row.turn,
        model=row.model or model,
        created_at_ms=instants.to_ms(row.accepted_at),
        user=row.user,
        instructions=row.detail.instructions,
        options=row.detail.options,
        metadata=row.detail.metadata,
        parent=row.parent,
        stored=row.stored,
    )


def outcome(progress: Progress) -> Outcome | None:
    """How the turn ended, None while it hasn't."""
    ended = progress.ended
    if ended is None:
        return None
    return Outcome(
        reason=ended.reason,
        error=ended.error,
        refusal=_refusal(ended.reason, ended.detail.refusal, ended.interventions),
        prompt_tokens=ended.prompt_tokens,
        cached_tokens=ended.cached_tokens,
        output_tokens=progress.tokens,
        ended_at=ended.at,
    )


def outcome_of_row(row: TurnCompleted) -> Outcome:
    """How a stored turn ended."""
    return Outcome(
        reason=row.reason,
        # A sentence in place of an answer is one to clients; what went wrong behind it is for analysts.
        error=row.detail.error if row.reason is not Reason.STOP else None,
        refusal=_refusal(row.reason, row.detail.refusal, row.interventions),
        prompt_tokens=row.prompt_tokens,
        cached_tokens=row.cached_tokens,
        output_tokens=row.delivered_tokens,
        ended_at=row.ended_at,
    )


def _refusal(reason: Reason, said: str | None, interventions: tuple[Verdict, ...]) -> str | None:
    if reason not in FILTERED:
        return None
    sentences = (verdict.sentence for verdict in reversed(interventions) if verdict.sentence)
    return said or next(sentences, _REFUSED)
