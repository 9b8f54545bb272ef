"""The `[moderation]` section."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ModerationSettings:
    """How the moderation service works."""

    batch: int = field(
        # 256 turns of a few KB: a batch of more would only wait longer for its acknowledgements.
        default=256,
        metadata={"doc": "turns that are judged and appended together, at most"},
    )
    commit_interval_s: float = field(
        # 0.1 s: ten requests a second to the broker; that much is judged again after a crash.
        default=0.1,
        metadata={"doc": "seconds between commits"},
    )
    session_timeout_s: float = field(
        # 6 s: the least that a broker takes by default; nothing is judged meanwhile in its partitions.
        default=6.0,
        metadata={"doc": "seconds of silence after which the group gives this process's work to another"},
    )

    def __post_init__(self) -> None:
        """Refuse what can't work."""
        faults = []
        if self.batch < 1:
            faults.append("batch: must be at least 1")
        if self.commit_interval_s <= 0:
            faults.append("commit_interval_s: must be more than 0")
        if self.session_timeout_s < 1:
            faults.append("session_timeout_s: must be at least 1")
        if faults:
            raise ValueError("\n".join(faults))
