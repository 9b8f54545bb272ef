"""Settings of the gate: `[enrichment]`, and the tables `[fallback.POOL]` and `[instructions.TENANT]`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

# It goes with every dispatch of its pool, beside a prompt of full size.
_MAX_SENTENCE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrichmentSettings:
    """The `[enrichment]` section."""

    data_dir: Path = field(
        default=Path("~/.local/share/parley/enrichment"),
        metadata={"doc": "where the gate's tables lie; one directory a process, rebuilt from Kafka when it is lost"},
    )
    max_waiting: int = field(
        # 64: more than any client sends side by side. 300 bytes each: a full conversation's state is some 20 KB.
        default=64,
        metadata={"doc": "turns that may wait in one conversation; one more ends as failed, conversation_busy"},
    )
    answer_tokens: int = field(
        default=512, metadata={"doc": "tokens kept free for an answer whose length nobody asked for"}
    )
    forget_after_s: float = field(
        default=3600.0,
        metadata={"doc": "seconds after which an idle conversation is dropped: its turns stored, its own topic gone"},
    )
    retire_after_s: float = field(
        # Half an hour: a reader who comes back sooner goes on behind its position, without a history.
        default=1800.0,
        metadata={"doc": "seconds after which an idle conversation whose turns are stored leaves its own topic"},
    )
    linger_s: float = field(
        # 5 min: longer than a gateway or a delivery node may be cut off and still serve.
        default=300.0,
        metadata={"doc": "seconds that a topic stays behind its conversation, for those who haven't heard"},
    )
    session_timeout_s: float = field(
        default=10.0, metadata={"doc": "seconds of silence after which the group gives this process's work to another"}
    )
    standby_replicas: int = field(
        default=1, metadata={"doc": "other processes that follow each table partition, ready to take over"}
    )
    context_turns: int = field(
        # 400 turns: more than any of today's models reads of chat.
        default=400,
        metadata={"doc": "most turns that are loaded from the store for a conversation the gate had forgotten"},
    )
    block_cache_mib: int = field(
        # 8 MiB: each partition of each table opens a cache of its own; the library's default is 2 GiB.
        default=8,
        metadata={"doc": "MiB of cache for each partition of each table"},
    )

    def __post_init__(self) -> None:
        """Refuse what can't work."""
        faults = [
            f"{name}: must be at least 1"
            for name in ("max_waiting", "answer_tokens", "context_turns", "block_cache_mib")
            if getattr(self, name) < 1
        ]
        faults += [
            f"{name}: must be at least 1"
            for name in ("forget_after_s", "retire_after_s", "linger_s", "session_timeout_s")
            if getattr(self, name) < 1
        ]
        if self.standby_replicas < 0:
            faults.append("standby_replicas: must be 0 or more")
        if faults:
            raise ValueError("\n".join(faults))


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackSettings:
    """A table `[fallback.POOL]`: what becomes of a turn whose pool has failed as often as its tier allows.

    The pool is tried first, the sentence if that fails too; both only while nothing of an answer has been shown.
    """

    pool: str | None = field(
        default=None, metadata={"doc": "another pool that answers instead, marked `degraded`; none: no pool does"}
    )
    sentence: str | None = field(
        default=None,
        metadata={"doc": "what is said in place of an answer, marked `degraded`; none: the turn ends as failed"},
    )

    def __post_init__(self) -> None:
        """Refuse what falls back to nothing."""
        faults = []
        if self.pool is None and self.sentence is None:
            faults.append("pool: a fallback names a pool, a sentence or both")
        if self.sentence is not None and not 0 < len(self.sentence) <= _MAX_SENTENCE:
            faults.append(f"sentence: must have 1 to {_MAX_SENTENCE} characters")
        if faults:
            raise ValueError("\n".join(faults))


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionSettings:
    """A table `[instructions.TENANT]`: what every prompt of a tenant begins with."""

    text: str = field(metadata={"doc": "the tenant's instructions; the conversation's and the request's follow"})
