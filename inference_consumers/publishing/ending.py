"""The last record of a turn's log, made of its dispatch and of what its generation came to.

Pure. `turn.ended` carries all that TurnCompleted and UsageRecorded need beside the fold of the log.
"""

from dataclasses import dataclass
from typing import Final

from schemas.errors import ERRORS, ErrorCode
from schemas.fold import TurnFold
from schemas.records import TurnDispatched, TurnEnded
from schemas.trimming import fitted
from schemas.turns import Detail, Failure, Reason, Stage, Verdict

_SENTENCES: Final = {
    ErrorCode.DEADLINE: "the turn was not finished by its deadline",
    ErrorCode.ENGINE_FAILED: "no worker could finish the answer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a turn ends.

    Args:
        error: what went wrong. Beside a sentence only analysts see it.
        sentence: what is said in place of an answer; only for `stop`, and only where nothing was shown.
        refusal: what a person is told in place of the text; only for `withheld`.
        verdicts: of the output screen.
    """

    reason: Reason
    error: Failure | None = None
    sentence: str | None = None
    refusal: str | None = None
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the turn cost beside what is in its log.

    Args:
        prompt_tokens: 0 = the engine never read the prompt.
        withheld_tokens: made and held back by the screen for good. discarded_tokens: made, then cut off by a stop, or
            lost with an engine that failed, here or at a worker before.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    withheld_tokens: int = 0
    discarded_tokens: int = 0


def written(
    dispatched: TurnDispatched, fold: TurnFold, *, attempt: int, seq: int, ending: Ending, tally: Tally, at: str
) -> TurnEnded:
    """The record.

    Args:
        fold: of the log up to our claim.
        seq: how many deltas the log will hold before it, of all attempts.
    """
    # An earlier attempt that showed something had read the prompt, whatever this one did.
    prompt_tokens = tally.prompt_tokens or (dispatched.prompt_tokens if fold.cursor.seq else 0)
    return TurnEnded(
        id=f"{dispatched.turn}.{attempt}.ended",
        at=at,
        tenant=dispatched.tenant,
        conversation=dispatched.conversation,
        turn=dispatched.turn,
        attempt=attempt,
        seq=seq,
        reason=ending.reason,
        error=ending.error if ending.sentence is None else None,
        user=dispatched.user,
        key_id=dispatched.key_id,
        tier=dispatched.tier,
        cost_class=dispatched.cost_class,
        pool=dispatched.pool,
        deployment=dispatched.deployment,
        model=dispatched.model,
        model_version=dispatched.model_version,
        accepted_at=dispatched.accepted_at,
        prompt_tokens=prompt_tokens,
        cached_tokens=min(tally.cached_tokens, prompt_tokens),
        withheld_tokens=tally.withheld_tokens,
        discarded_tokens=tally.discarded_tokens,
        n=dispatched.n,
        parent=dispatched.parent,
        input_text=dispatched.input_text,
        interventions=dispatched.interventions + ending.verdicts,
        degraded=dispatched.degraded or ending.sentence is not None,
        stored=dispatched.stored,
        log_start=dispatched.place,
        detail=_detail(dispatched, ending),
    )


def _detail(dispatched: TurnDispatched, ending: Ending) -> Detail:
    detail = Detail(
        error=ending.error,
        instructions=dispatched.instructions,
        options=dispatched.options,
        metadata=dispatched.metadata,
        trimmed=dispatched.trimmed,
        refusal=ending.refusal,
        dialect=dispatched.dialect,
        epoch=dispatched.epoch,
        client_key=dispatched.client_key,
        fingerprint=dispatched.fingerprint,
    )
    return fitted(detail, dispatched.input_text)


def output_verdicts(end: TurnEnded) -> tuple[Verdict, ...]:
    """What the output screen decided on this turn."""
    return tuple(verdict for verdict in end.interventions if verdict.stage is Stage.OUTPUT)


def failed(code: ErrorCode, message: str) -> Ending:
    """The end of a turn that could not be answered."""
    return Ending(reason=Reason.FAILED, error=Failure(code, message, ERRORS[code].retriable))


def with_fallback(ending: Ending, dispatched: TurnDispatched, fold: TurnFold) -> Ending:
    """The ending, or the sentence in its place: the engines failed, nothing was shown, and the pool has a sentence.

    What an attempt whose end was lost has said of it already counts as not shown.
    """
    has_failed = ending.error is not None and ending.error.code is ErrorCode.ENGINE_FAILED
    is_said = fold.delivered_tokens == 0 and fold.text == dispatched.fallback_sentence
    if not has_failed or dispatched.fallback_sentence is None or (fold.cursor.seq and not is_said):
        return ending
    return Ending(reason=Reason.STOP, error=ending.error, sentence=dispatched.fallback_sentence)


def error_of(reason: Reason) -> Failure | None:
    """The error that a turn ended for this reason carries when the gate gave none."""
    code = {Reason.EXPIRED: ErrorCode.DEADLINE, Reason.FAILED: ErrorCode.ENGINE_FAILED}.get(reason)
    return None if code is None else Failure(code, _SENTENCES[code], ERRORS[code].retriable)


def expired() -> Ending:
    """The end of a turn whose deadline has passed."""
    return Ending(reason=Reason.EXPIRED, error=error_of(Reason.EXPIRED))
