"""The `[delivery]` section."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """What a delivery node does at its public port."""

    host: str = field(default="127.0.0.1", metadata={"doc": "address that the stream's port listens on"})
    port: int = field(
        default=8081, metadata={"doc": "port of the WebSocket stream, which several nodes may share; 0: any"}
    )
    gateways: tuple[str, ...] = field(
        default=("http://127.0.0.1:9100",),
        metadata={"doc": "base URLs of the gateways' internal ports, where `send` and `stop` go"},
    )
    origins: tuple[str, ...] = field(
        default=(),
        metadata={"doc": "origins of pages that may open a stream, beside those of its own host; `*`: any"},
    )
    max_connections: int = field(
        # 20 000 at some 10 KB each are 200 MB; a node's fd limit should exceed it.
        default=20_000,
        metadata={"doc": "sockets of one node; more are sent away with 4003"},
    )
    max_tenant_connections: int = field(default=10_000, metadata={"doc": "sockets of one tenant on one node"})
    max_subscriptions: int = field(default=200, metadata={"doc": "conversations that one socket reads at once"})
    outbox_bytes: int = field(
        # 256 KiB: the contract's; about half an hour of an answer at 25 tokens/s once merged.
        default=256 * 1024,
        metadata={"doc": "what may wait for a reader that doesn't read, before it is closed with 4001"},
    )
    frame_bytes: int = field(
        # 1 MiB: a message of 192 KiB in JSON, also when much of it is escaped.
        default=1024 * 1024,
        metadata={"doc": "largest frame that a client may send"},
    )
    alive_s: float = field(default=20.0, metadata={"doc": "seconds of silence after which a node says `alive`"})
    ping_s: float = field(
        default=30.0, metadata={"doc": "seconds after which a silent client is pinged; after twice as many it is gone"}
    )
    socket_s: float = field(
        default=43_200.0, metadata={"doc": "seconds that a socket opened by a ticket lives without `authenticate`"}
    )
    drain_spread_s: float = field(
        # 5 s: a node's clients come back over that time; well within drain_s.
        default=5.0,
        metadata={"doc": "seconds over which sockets are sent away when a node ends"},
    )
    max_replay: int = field(
        # 20 000 records are read in about 0.2 s; who missed more is better served by the history.
        default=20_000,
        metadata={"doc": "records behind a position that are still replayed; more give `recovered: false`"},
    )
    lane_lookback_s: float = field(
        default=3600.0,
        metadata={
            "doc": "seconds for which a lane is searched for open turns, and for which its index remembers who spoke "
            "where: longer than any turn's deadline"
        },
    )
    lane_index_entries: int = field(
        # 500 000: 110 MB at worst, if each record is another conversation's. An hour of ten turns a second are 36 000.
        default=500_000,
        metadata={
            "doc": "conversations and stretches that the indexes of all lanes remember; what is more is forgotten"
        },
    )
    lane_recent_bytes: int = field(
        # 64 MiB: at 5 000 records/s over 16 lanes the last 4 to 8 s, longer than clients take to come back after a cut.
        default=64 * 1024 * 1024,
        metadata={"doc": "newest records of all lanes that are held whole, so that who was just cut off reads no log"},
    )
    lane_rebuild_records: int = field(
        # 50 000 take about half a second of CPU, in the background.
        default=50_000,
        metadata={"doc": "records of each lane that a starting node reads back for its index"},
    )
    keyed_lookback_s: float = field(
        # 600 s: the gateway's default deadline: an older turn of that key has ended.
        default=600.0,
        metadata={"doc": "seconds for which a lane is searched for a turn made under an idempotency key"},
    )
    cold_polls: int = field(
        default=16, metadata={"doc": "long polls per broker that share the conversations where nobody speaks"}
    )

    def __post_init__(self) -> None:
        """Refuse what can't work."""
        positive = (
            "max_connections", "max_tenant_connections", "max_subscriptions", "outbox_bytes", "frame_bytes", "alive_s",
            "ping_s", "socket_s", "lane_lookback_s", "lane_index_entries", "keyed_lookback_s", "cold_polls",
        )  # fmt: skip
        may_be_zero = ("drain_spread_s", "max_replay", "lane_recent_bytes", "lane_rebuild_records")
        faults = [f"{name}: must be more than 0" for name in positive if getattr(self, name) <= 0]
        faults += [f"{name}: must be 0 or more" for name in may_be_zero if getattr(self, name) < 0]
        if not 0 <= self.port < 65536:  # noqa: PLR2004 - TCP ports
            faults.append(f"port: {self.port} is not a TCP port")
        if not self.gateways:
            faults.append("gateways: must name at least one gateway's internal port")
        if faults:
            raise ValueError("\n".join(faults))
