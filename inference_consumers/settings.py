"""Settings of an inference worker: the `[inference]` section."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceSettings:
    """One worker of one pool."""

    pool: str = field(default="default", metadata={"doc": "whose turns it takes: `inference.<pool>`"})
    engine: Literal["auto", "torch", "vllm", "openai", "simulated", "closing"] = field(
        default="auto",
        metadata={"doc": "what answers; `closing` generates nothing, it ends the turns of its pool"},
    )
    model_path: Path | None = field(
        default=None, metadata={"doc": "the model's directory; none: what the pool's deployment names"}
    )
    look_ahead: int = field(
        # 1 000: some MB of index; more would only let one worker hold turns that another could start.
        default=1000,
        metadata={"doc": "turns that a worker holds before they start, to take them fairly between tenants"},
    )
    payload_cache_mb: int = field(
        default=16, metadata={"doc": "memory for the prompts of turns that wait; others are read again when they start"}
    )
    merge_ms: float = field(
        default=25.0, metadata={"doc": "least time between two deltas of a turn; the first goes at once"}
    )
    temperature: float = field(default=0.0, metadata={"doc": "of turns that name none; 0 is greedy"})
    top_p: float = field(default=1.0, metadata={"doc": "of turns that name none"})
    session_timeout_ms: int = field(
        default=3000, metadata={"doc": "silence after which the group gives a worker's partitions to others"}
    )
    heartbeat_ms: int = field(
        # 400: also sets how fast the others notice that a rebalance has begun.
        default=400,
        metadata={"doc": "time between two heartbeats to the group"},
    )
    max_deadline_h: float = field(
        default=12.0,
        metadata={"doc": "longest deadline of a turn: so long are stops kept, so far are they read back"},
    )
    closing_slots: int = field(default=64, metadata={"doc": "turns that a worker of the pool `closing` ends at once"})

    def __post_init__(self) -> None:
        """Refuse what no worker could run by."""
        faults = [f"{name}: must be at least 1" for name in ("look_ahead", "closing_slots") if getattr(self, name) < 1]
        if self.merge_ms < 0:
            faults.append("merge_ms: must be 0 or more")
        if not 0 < self.heartbeat_ms * 3 <= self.session_timeout_ms:
            faults.append("heartbeat_ms: must be at most a third of session_timeout_ms")
        if not 0 < self.top_p <= 1 or self.temperature < 0:
            faults.append("top_p: must be above 0 and at most 1, and temperature not negative")
        if self.max_deadline_h <= 0:
            faults.append("max_deadline_h: must be more than 0")
        if faults:
            raise ValueError("\n".join(faults))
