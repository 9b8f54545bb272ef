"""A worker's claim and its release, as records of the conversation log. Pure."""

from inference_consumers.claims.decision import Standing
from schemas.records import TurnDispatched, TurnReleased, TurnStarted


def started(
    dispatched: TurnDispatched, standing: Standing, attempt: int, *, claim: str, at: str, worker: str, is_alone: bool
) -> TurnStarted:
    """The claim under a number.

    Args:
        claim: its id, new for each claim.
        is_alone: nothing else is in the worker's engine.
    """
    return TurnStarted(
        id=claim,
        at=at,
        tenant=dispatched.tenant,
        conversation=dispatched.conversation,
        turn=dispatched.turn,
        attempt=attempt,
        dispatch=standing.dispatch,
        source=standing.source,
        generation=standing.generation,
        model=dispatched.model,
        deployment=dispatched.deployment,
        degraded=dispatched.degraded,
        worker=worker,
        alone=is_alone,
    )


def released(dispatched: TurnDispatched, attempt: int, at: str, *, worker: str) -> TurnReleased:
    """The worker has let go of the turn in good order."""
    return TurnReleased(
        id=f"{dispatched.turn}.{attempt}.released.{worker}",
        at=at,
        tenant=dispatched.tenant,
        conversation=dispatched.conversation,
        turn=dispatched.turn,
        attempt=attempt,
        worker=worker,
    )
