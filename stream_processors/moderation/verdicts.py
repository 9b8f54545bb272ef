"""What a screen decided, as the values and records that the rest of the pipeline reads."""

from schemas.records import Record, VerdictReached
from schemas.turns import Action, Stage, Verdict
from stream_processors.moderation.policy import Match


def verdict_of(match: Match, stage: Stage) -> Verdict:
    """The verdict that a matched rule asks for."""
    stopping = Action.REFUSE if stage is Stage.INPUT else Action.WITHHOLD
    return Verdict(
        stage=stage,
        action=stopping if match.stops else Action.FLAG,
        policy=match.policy,
        policy_version=match.version,
        rule=match.rule.rule,
        sentence=match.sentence if match.stops else None,
    )


def allowed(stage: Stage) -> Verdict:
    """Nothing matched."""
    return Verdict(stage=stage, action=Action.ALLOW)


def stops(verdict: Verdict) -> bool:
    """True when the text, or its rest, is not to be seen."""
    return verdict.action in (Action.REFUSE, Action.WITHHOLD)


def reached(verdict: Verdict, *, of: Record, at: str) -> VerdictReached:
    """The verdict for `safety.verdicts`. A repeat has the same id.

    Args:
        of: a record of the turn that was judged.
    """
    return VerdictReached(
        id=f"{of.turn}.{verdict.stage}.{verdict.rule or 'none'}",
        at=at,
        tenant=of.tenant,
        conversation=of.conversation,
        turn=of.turn,
        attempt=of.attempt,
        stage=verdict.stage,
        action=verdict.action,
        policy=verdict.policy,
        policy_version=verdict.policy_version,
        rule=verdict.rule,
    )
