"""The `[gateway]` section."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What the gateway does at its public port."""

    host: str = field(default="127.0.0.1", metadata={"doc": "address that the public port listens on"})
    port: int = field(
        default=8080,
        metadata={"doc": "port of the public HTTP API and the chat page, which several gateways may share; 0: any"},
    )
    deliveries: tuple[str, ...] = field(
        default=("http://127.0.0.1:8081",),
        metadata={"doc": "base URLs of delivery nodes, as this process reaches them"},
    )
    stream_url: str | None = field(
        default=None,
        metadata={"doc": "WebSocket URL that clients are given; none: the host they came to, at `stream_port`"},
    )
    stream_port: int | None = field(
        default=None,
        metadata={"doc": "port of delivery at the host that clients came to; none: the first delivery node's"},
    )
    layout: Literal["dedicated", "lanes", "adaptive"] = field(
        default="adaptive", metadata={"doc": "where new conversations' logs lie: own topics, lanes, or both"}
    )
    max_conversation_topics: int = field(
        default=5000, metadata={"doc": "own topics that may live at once in the layout `adaptive`; beyond them: lanes"}
    )
    spare_topics: int = field(
        # 32: at 100 new conversations a second what is taken within 0.3 s, the time of a look and a batch.
        default=32,
        metadata={
            "doc": "topics kept ready for conversations to come, by all gateways together; "
            "each has up to half as many more in its hand"
        },
    )
    spares_per_s: float = field(
        # 100: a broker makes 600 topics a second in batches but deletes only 150, and what is born is once deleted.
        default=100.0,
        metadata={"doc": "own topics made a second at most, by all gateways together; what is born faster rides lanes"},
    )
    deadline_s: float = field(
        default=600.0, metadata={"doc": "seconds until a turn that wasn't answered ends as expired, if it names none"}
    )
    abandon_s: float = field(
        default=2.0, metadata={"doc": "seconds after which a broken connection stops a turn that isn't stored"}
    )
    wait_s: float = field(
        # 15 s: below the 30 s and 60 s after which common proxies cut silent connections.
        default=15.0,
        metadata={"doc": "seconds of silence after which a stream sends a comment"},
    )
    follow_s: float = field(
        default=5.0, metadata={"doc": "seconds to wait for a delivery node before a turn is accepted"}
    )
    ack_s: float = field(
        # 10 s: a broker's restart is a matter of seconds; below the 30 s after which common clients give up.
        default=10.0,
        metadata={"doc": "seconds to wait for Kafka's acknowledgement of a request before it is answered with 503"},
    )
    ticket_s: float = field(default=60.0, metadata={"doc": "seconds that a ticket is good for"})

    def __post_init__(self) -> None:
        """Refuse what can't work."""
        faults = [
            f"{name}: must be more than 0"
            for name in ("deadline_s", "abandon_s", "wait_s", "follow_s", "ack_s", "ticket_s", "spares_per_s")
            if getattr(self, name) <= 0
        ]
        faults += [
            f"{name}: must be 0 or more"
            for name in ("max_conversation_topics", "spare_topics")
            if getattr(self, name) < 0
        ]
        if not 0 <= self.port < 65536:  # noqa: PLR2004 - TCP ports
            faults.append(f"port: {self.port} is not a TCP port")
        if self.stream_port is not None and not 0 < self.stream_port < 65536:  # noqa: PLR2004 - TCP ports
            faults.append(f"stream_port: {self.stream_port} is not a TCP port")
        if not self.deliveries:
            faults.append("deliveries: must name at least one delivery node")
        if faults:
            raise ValueError("\n".join(faults))
