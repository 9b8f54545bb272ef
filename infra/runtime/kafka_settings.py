"""The `[kafka]` section: where the brokers are, how names are prefixed and how many partitions topics get."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """How this process reaches Kafka. The prefix is put on in `infra.runtime` alone: no caller sees a prefixed name."""

    bootstrap: str = field(
        default="127.0.0.1:9092", metadata={"doc": "brokers to begin with, `host:port` separated by commas"}
    )
    topic_prefix: str = field(default="", metadata={"doc": "stands before every topic and every group"})
    replication_factor: int = field(default=1, metadata={"doc": "copies of each topic that Parley creates"})
    partitions: int = field(
        default=4, metadata={"doc": "partitions of chat.requests, chat.moderated, chat.control and chat.turns"}
    )
    inference_partitions: int = field(default=4, metadata={"doc": "partitions of each pool's inference topic"})
    lanes: int = field(default=16, metadata={"doc": "partitions that conversations without an own topic share"})
    spare_partitions: int = field(
        default=8, metadata={"doc": "partitions of conversations.spares: so many gateways at most find own topics"}
    )
    request_timeout_s: float = field(
        # 20 s: longer than a broker's restart on a busy machine, shorter than a client's patience.
        default=20.0,
        metadata={"doc": "seconds until an unanswered request or an unacknowledged append fails"},
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = field(
        default="PLAINTEXT", metadata={"doc": "how connections are protected"}
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = field(
        default="PLAIN", metadata={"doc": "how SASL proves the password"}
    )
    sasl_username: str | None = field(default=None, metadata={"doc": "SASL user"})
    sasl_password: str | None = field(default=None, metadata={"doc": "SASL password", "secret": True})
    ssl_ca_file: Path | None = field(
        default=None, metadata={"doc": "PEM file of the authorities to trust; none: the system's"}
    )
    ssl_cert_file: Path | None = field(default=None, metadata={"doc": "PEM file of this client's certificate"})
    ssl_key_file: Path | None = field(default=None, metadata={"doc": "PEM file of the certificate's key"})

    def __post_init__(self) -> None:
        """Refuse what no broker could serve."""
        faults = [
            f"{name}: must be at least 1"
            for name in ("replication_factor", "partitions", "inference_partitions", "lanes", "spare_partitions")
            if getattr(self, name) < 1
        ]
        if not self.bootstrap.strip():
            faults.append("bootstrap: must name at least one broker")
        if self.request_timeout_s <= 0:
            faults.append("request_timeout_s: must be more than 0")
        if self.security_protocol.startswith("SASL") and (self.sasl_username is None or self.sasl_password is None):
            faults.append("security_protocol: SASL needs sasl_username and sasl_password")
        if faults:
            raise ValueError("\n".join(faults))

    def named(self, name: str) -> str:
        """A topic's or group's name at the broker."""
        return self.topic_prefix + name

    def client_options(self, client_id: str) -> dict[str, Any]:
        """Keyword arguments that every client of aiokafka takes."""
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": client_id,
            "request_timeout_ms": int(self.request_timeout_s * 1000),
            "security_protocol": self.security_protocol,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
            "ssl_context": self._ssl_context(),
        }

    def _ssl_context(self) -> ssl.SSLContext | None:
        if self.security_protocol not in ("SSL", "SASL_SSL"):
            return None
        context = ssl.create_default_context(cafile=self.ssl_ca_file)
        if self.ssl_cert_file is not None:
            context.load_cert_chain(self.ssl_cert_file, self.ssl_key_file)
        return context
