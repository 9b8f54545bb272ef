"""Which pool answers a turn: by the model asked for, the tier, and how full the pools are."""

from schemas.errors import ERRORS, ErrorCode
from schemas.topics import CLOSING_POOL
from schemas.turns import Failure
from stream_processors.routing.fleet import Fleet, Pool


def choose(fleet: Fleet, *, model: str | None, tier: str) -> Pool | Failure:
    """The pool for a turn, or why none is.

    Among those that serve the model to this tier: one with workers before one without, then the least loaded, then by
    name. A pool without a worker is chosen all the same: the turn waits there, up to its deadline.

    Args:
        model: as the client named it; None = any.
    """
    serving = [pool for pool in fleet.pools.values() if pool.deployment.pool != CLOSING_POOL]
    if not serving:
        return _failure(ErrorCode.UNAVAILABLE, "no model is deployed")
    named = [pool for pool in serving if model is None or serves(pool, model)]
    if not named:
        return _failure(ErrorCode.INVALID_REQUEST, f"the model {model!r} is not served here; see /v1/models")
    open_to_tier = [pool for pool in named if is_open_to(pool, tier)]
    if not open_to_tier:
        return _failure(ErrorCode.FORBIDDEN, f"the tier {tier!r} may not use this model")
    return min(open_to_tier, key=_rank)


def serves(pool: Pool, model: str) -> bool:
    """True when the client's word for a model means this pool's: the model, the deployment or the pool itself."""
    deployment = pool.deployment
    return model in (deployment.model, deployment.deployment, deployment.pool)


def is_open_to(pool: Pool, tier: str) -> bool:
    """True when the tier may use what the pool serves."""
    return not pool.deployment.tiers or tier in pool.deployment.tiers


def _rank(pool: Pool) -> tuple[bool, float, str]:
    return (pool.workers == 0, round(pool.load, 2), pool.deployment.pool)


def _failure(code: ErrorCode, message: str) -> Failure:
    return Failure(code, message, ERRORS[code].retriable)
