"""Index entries for tests."""

from itertools import count

from inference_consumers.scheduling.entry import Entry
from schemas import ids
from schemas.turns import Source

_OFFSETS = count()


def entry(
    tenant: str = "a",
    *,
    priority: int = 0,
    weight: float = 1.0,
    cost: int = 10,
    deadline: int = 10**9,
    partition: int = 0,
) -> Entry:
    """The next arrival."""
    offset = next(_OFFSETS)
    conversation = ids.conversation_id(f"{offset:032x}")
    return Entry(
        source=Source("inference.default", partition, offset),
        turn=ids.turn_id(conversation, f"{offset:032x}"),
        conversation=conversation,
        tenant=tenant,
        priority=priority,
        weight=weight,
        cost_tokens=cost,
        deadline_ms=deadline,
        dispatched_ms=offset,
    )
