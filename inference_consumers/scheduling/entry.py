"""What a worker knows of a dispatched turn before it starts it: an index, not the payload."""

from dataclasses import dataclass

from schemas import instants
from schemas.ids import ConversationId, TurnId
from schemas.records import TurnDispatched
from schemas.turns import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One source in the look-ahead.

    Args:
        priority: band; lower ones are started first.
        weight: the tenant's share by its tier, above 0.
        cost_tokens: of the prompt, as the gate counted them.
        deadline_ms: past it the turn ends as `expired`.
        dispatched_ms: when the gate dispatched it.
    """

    source: Source
    turn: TurnId
    conversation: ConversationId
    tenant: str
    priority: int
    weight: float
    cost_tokens: int
    deadline_ms: int
    dispatched_ms: int

    @classmethod
    def of(cls, dispatched: TurnDispatched, source: Source, turn: TurnId, conversation: ConversationId) -> "Entry":
        """The index of a dispatch. Raises ContractError when an instant isn't one."""
        return cls(
            source=source,
            turn=turn,
            conversation=conversation,
            tenant=dispatched.tenant or "",
            priority=dispatched.priority,
            weight=dispatched.weight if dispatched.weight > 0 else 1.0,
            cost_tokens=dispatched.prompt_tokens,
            deadline_ms=instants.to_ms(dispatched.deadline_at),
            dispatched_ms=instants.to_ms(dispatched.at),
        )
