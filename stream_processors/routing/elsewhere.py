"""Where a turn goes again whose worker's engine has failed: to a partition that another live worker owns. Pure."""

from zlib import crc32

from schemas.ids import TurnId
from stream_processors.routing.fleet import Pool


def partition_elsewhere(pool: Pool, worker: str, turn: TurnId) -> int | None:
    """A partition of the pool's topic whose owner is the least loaded of the others.

    Args:
        worker: that failed. turn: spreads the turns of one failure over its heir's partitions.

    Returns:
        None when nobody else is known to own one: the turn goes where its key says, perhaps to the same worker.
    """
    failed = {number for each in pool.members if each.name == worker for number in each.partitions}
    others = [
        (round(each.load, 2), each.name, partitions)
        for each in pool.members
        # Right behind a rebalance two reports may name one partition: then it is nobody's for certain.
        if each.name != worker and (partitions := tuple(sorted(set(each.partitions) - failed)))
    ]
    if not others:
        return None
    _load, _name, partitions = min(others)
    return partitions[crc32(turn.encode()) % len(partitions)]
