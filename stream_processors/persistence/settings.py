"""The `[persistence]` section."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistenceSettings:
    """How the persistence service works."""

    batch: int = field(
        # 200 turns of a few KB: below a second of writing on one node.
        default=200,
        metadata={"doc": "records that are written and committed together, at most"},
    )
    writers: int = field(
        # 16: with four statements a turn that fills the session's 64 statements in flight.
        default=16,
        metadata={"doc": "conversations that are written at once"},
    )
    session_timeout_s: float = field(
        default=10.0, metadata={"doc": "seconds of silence after which the group gives this process's work to another"}
    )

    def __post_init__(self) -> None:
        """Refuse what can't work."""
        faults = [f"{name}: must be at least 1" for name in ("batch", "writers") if getattr(self, name) < 1]
        if self.session_timeout_s < 1:
            faults.append("session_timeout_s: must be at least 1")
        if faults:
            raise ValueError("\n".join(faults))
