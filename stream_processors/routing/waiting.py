"""How long a turn will wait: what `turn.queued` tells a client."""

from stream_processors.routing.fleet import Pool


def ahead(pool: Pool, before: int) -> int | None:
    """Turns that a turn of the pool waits for; None: it finds a free slot.

    Args:
        before: open turns that were dispatched to the pool before it, as far as this process knows.
    """
    if before < pool.slots:
        return pool.ahead or None
    return max(min(before, before - pool.slots + 1), pool.ahead)


def eta_s(pool: Pool, ahead: int, turn_s: float | None) -> float | None:
    """Seconds until the turn's place in the queue comes up.

    Args:
        ahead: turns before it in the pool. turn_s: how long a turn takes of late, None = nobody knows.

    Returns:
        None when it can't be told: no worker, or no turn has ended yet.
    """
    if turn_s is None or not pool.slots:
        return None
    return round((ahead + 1) * turn_s / pool.slots, 1)
