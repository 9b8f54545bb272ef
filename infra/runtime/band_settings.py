"""The tables `[band.TIER]`, which gateway and gate both read: what a tier's turns may claim."""

from dataclasses import dataclass, field
from typing import Final

# Half the shortest retention on a turn's way, a day: no record of an open turn is gone before the turn has ended.
MAX_DEADLINE_S: Final = 12 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BandSettings:
    """A table `[band.TIER]`: how a tier's turns stand against others, and how long and how often they are tried."""

    priority: int = field(default=0, metadata={"doc": "band: lower ones go first, whatever waits in higher ones"})
    weight: float = field(default=1.0, metadata={"doc": "share of a tenant of this tier against others of its band"})
    deadline_s: float | None = field(
        default=None,
        metadata={
            "doc": "seconds until a turn that names no deadline ends as expired; none: what `[gateway]` says; at most "
            "12 hours"
        },
    )
    max_attempts: int = field(
        default=5,
        metadata={
            "doc": "failures of engines of one pool after which the turn falls back or ends as failed; likewise "
            "deaths of workers that it met alone"
        },
    )

    def __post_init__(self) -> None:
        """Refuse what nobody could obey."""
        faults = []
        if self.weight <= 0:
            faults.append("weight: must be more than 0")
        if self.max_attempts < 1:
            faults.append("max_attempts: must be at least 1")
        if self.deadline_s is not None and not 0 < self.deadline_s <= MAX_DEADLINE_S:
            faults.append(f"deadline_s: must be more than 0 and at most {MAX_DEADLINE_S:.0f}")
        if faults:
            raise ValueError("\n".join(faults))
