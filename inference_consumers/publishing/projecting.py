"""What everybody else reads of an ended turn, as records on their topics: a pure function of the turn's log."""

from inference_consumers.publishing.ending import output_verdicts
from schemas import projection, topics
from schemas.errors import InvariantBroken
from schemas.fold import TurnFold
from schemas.records import Record, TurnDispatched, TurnEnded, TurnReturned, VerdictReached
from schemas.turns import Action, LogAddress, Source, Stage, Verdict


def facts(fold: TurnFold, log: LogAddress) -> tuple[tuple[str, Record], ...]:
    """Topic and record of all that follows from a turn's end: the verdicts on its answer, its usage, the whole turn.

    TurnCompleted comes last: whoever reads it finds the others there.
    """
    end = fold.ended
    if end is None:
        raise InvariantBroken(f"{fold.turn} was projected before its end")
    usage = projection.usage(fold)
    return (
        *((topics.VERDICTS, _reached(end, verdict)) for verdict in verdicts_of(fold, end)),
        *(((topics.USAGE, usage),) if usage is not None else ()),
        (topics.TURNS, projection.completed(fold, log)),
    )


def returned(
    dispatched: TurnDispatched,
    source: Source,
    at: str,
    *,
    worker: str,
    has_failed: bool = False,
    is_shown: bool = False,
    discarded_tokens: int | None = None,
) -> TurnReturned:
    """The record that gives a turn back to the gate.

    Args:
        has_failed: this worker's engine has failed it; else it was not begun here.
        is_shown: something of the answer is in the log.
        discarded_tokens: of all failed engines of the turn so far; None = as many as the dispatch says.
    """
    return TurnReturned(
        id=f"{dispatched.turn}.returned.{dispatched.dispatch}.{source.partition}.{source.offset}",
        at=at,
        tenant=dispatched.tenant,
        conversation=dispatched.conversation,
        turn=dispatched.turn,
        dispatch=dispatched.dispatch,
        source=source,
        failures=dispatched.failures + has_failed,
        shown=is_shown,
        worker=worker,
        discarded_tokens=dispatched.discarded_tokens if discarded_tokens is None else discarded_tokens,
    )


def verdicts_of(fold: TurnFold, end: TurnEnded) -> tuple[Verdict, ...]:
    """One a rule that matched; one that allows when the screen saw an answer and nothing matched.

    A sentence in place of an answer has no tokens, and no screen has seen it.
    """
    reached = output_verdicts(end)
    if not reached and fold.delivered_tokens:
        return (Verdict(stage=Stage.OUTPUT, action=Action.ALLOW),)
    return reached


def _reached(end: TurnEnded, verdict: Verdict) -> VerdictReached:
    return VerdictReached(
        id=f"{end.turn}.{verdict.stage.value}.{verdict.rule or 'none'}",
        at=end.at,
        tenant=end.tenant,
        conversation=end.conversation,
        turn=end.turn,
        attempt=end.attempt,
        stage=verdict.stage,
        action=verdict.action,
        policy=verdict.policy,
        policy_version=verdict.policy_version,
        rule=verdict.rule,
    )
