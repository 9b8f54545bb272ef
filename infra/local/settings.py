"""Settings of `[local]`: what `parley up` starts on this machine when no Kafka or Cassandra is configured."""

from dataclasses import dataclass, field
from typing import Final

SMALLEST_HEAP_MB: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """How the local Kafka and Cassandra are run."""

    maven_url: str = field(
        default="", metadata={"doc": "root of the Maven repository to load jars from; none: the resolver's own default"}
    )
    kafka_port: int = field(
        default=0, metadata={"doc": "loopback port of the local Kafka; 0: a free one, kept in the data directory"}
    )
    cassandra_port: int = field(
        default=0, metadata={"doc": "loopback port of the local Cassandra (CQL); 0: a free one, kept likewise"}
    )
    # 5 000 conversation topics fit; 10 000 need 1 024.
    kafka_heap_mb: int = field(default=512, metadata={"doc": "MB that Kafka's Java heap may grow to"})
    kafka_runs_long: bool = field(
        default=False,
        metadata={
            "doc": "Java as Kafka's own scripts start it: slower to start, then less CPU and shorter pauses: for a "
            "broker that serves long, or holds thousands of conversation topics"
        },
    )
    cassandra_heap_mb: int = field(default=256, metadata={"doc": "MB that Cassandra's Java heap may grow to"})
    # Measured 2-6 s; a log recovery after a crash takes longer.
    start_limit_s: float = field(default=90.0, metadata={"doc": "seconds until a program that isn't ready has failed"})
    # Measured 0.3-3 s.
    stop_limit_s: float = field(default=15.0, metadata={"doc": "seconds between SIGTERM and SIGKILL"})

    def __post_init__(self) -> None:
        """Refuse what can't work."""
        faults = [
            f"{name}: must be 0 to 65535"
            for name in ("kafka_port", "cassandra_port")
            if not 0 <= getattr(self, name) < 1 << 16
        ]
        faults += [
            f"{name}: must be at least {SMALLEST_HEAP_MB}"
            for name in ("kafka_heap_mb", "cassandra_heap_mb")
            if getattr(self, name) < SMALLEST_HEAP_MB
        ]
        faults += [
            f"{name}: must be more than 0" for name in ("start_limit_s", "stop_limit_s") if getattr(self, name) <= 0
        ]
        if faults:
            raise ValueError("\n".join(faults))
