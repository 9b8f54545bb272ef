"""The `[cassandra]` section: where the store is."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class CassandraSettings:
    """How this process reaches Cassandra."""

    contact_points: tuple[str, ...] = field(
        default=("127.0.0.1",), metadata={"doc": "nodes to begin with, separated by commas"}
    )
    port: int = field(default=9042, metadata={"doc": "the nodes' CQL port"})
    keyspace: str = field(default="parley", metadata={"doc": "the keyspace that holds every table"})
    replication_factor: int = field(default=1, metadata={"doc": "copies of each row in a keyspace that Parley creates"})
    datacenter: str | None = field(
        default=None, metadata={"doc": "the local datacenter; none: all contact points alike"}
    )
    username: str | None = field(default=None, metadata={"doc": "user, if the cluster asks for one"})
    password: str | None = field(default=None, metadata={"doc": "password of that user", "secret": True})
    request_timeout_s: float = field(
        # 10 s: Cassandra's own write timeout is 2 s; the rest is for a driver that has to change nodes.
        default=10.0,
        metadata={"doc": "seconds until an unanswered statement fails"},
    )
    in_flight: int = field(
        # 64: measured best on one node, and far below the 32 768 streams of a connection.
        default=64,
        metadata={"doc": "statements on their way at once from one process"},
    )

    def __post_init__(self) -> None:
        """Refuse what no store could serve."""
        faults = [
            f"{name}: must be at least 1" for name in ("replication_factor", "in_flight") if getattr(self, name) < 1
        ]
        if not self.contact_points:
            faults.append("contact_points: must name at least one node")
        if not 0 < self.port < 65536:  # noqa: PLR2004 - the largest TCP port
            faults.append(f"port: {self.port} is not a TCP port")
        if not self.keyspace.isidentifier() or len(self.keyspace) > 48:  # noqa: PLR2004 - Cassandra's limit for names
            faults.append(f"keyspace: {self.keyspace!r} is not a name of up to 48 letters, digits and _")
        if faults:
            raise ValueError("\n".join(faults))
