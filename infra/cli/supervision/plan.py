"""Which services an `up` consists of, their ports and their environment. Pure: ports and secrets come in as values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas.topics import CLOSING_POOL

DEFAULT_POOL: Final = "default"
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What an `up` was asked for: flags, and the settings where there was none.

    Args:
        host, port: of the page and the API. stream_host, stream_port: of the WebSocket.
        told_stream_port: where clients find the WebSocket, on the host that they came to; None: at `stream_port`.
        service_host: where services listen for health, metrics and each other.
        engine: what the workers run; resolved, never `auto`.
        workers: of the default pool. gateways, delivery: how many share each public port.
        layout: of conversation logs; None leaves it to the settings.
    """

    host: str = LOOPBACK
    port: int = 8080
    stream_host: str = LOOPBACK
    stream_port: int = 8081
    told_stream_port: int | None = None
    service_host: str = LOOPBACK
    engine: str = "simulated"
    workers: int = 1
    gateways: int = 1
    delivery: int = 1
    layout: str | None = None

    @property
    def base_url(self) -> str:
        """What clients of OpenAI's dialect are given."""
        return f"http://{reached(self.host)}:{self.port}/v1"

    @property
    def page(self) -> str:
        """The chat page."""
        return f"http://{reached(self.host)}:{self.port}/"

    @property
    def stream_url(self) -> str:
        """The WebSocket."""
        return f"ws://{reached(self.stream_host)}:{self.stream_port}/v1/stream"


def reached(host: str) -> str:
    """The host in a URL by which this machine reaches who listens on it: a wildcard address is no place to go to."""
    place = LOOPBACK if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 - compared, not listened on
    return f"[{place}]" if ":" in place else place


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """One service process.

    Args:
        ports: what it listens on, by name; `metrics` answers /readyz.
        host: where `metrics` listens.
        environment: added to our own.
    """

    name: str
    role: str
    ports: Mapping[str, int]
    host: str = LOOPBACK
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def ready_url(self) -> str:
        """Where it says that it can do its work."""
        return f"http://{reached(self.host)}:{self.ports['metrics']}/readyz"


def names(options: Options) -> Iterator[tuple[str, str]]:
    """Name and role of each process, in the order in which they are started: who reads comes before who writes."""
    yield "persistence", "persistence"
    yield "enrichment", "enrichment"
    yield "moderation", "moderation"
    yield "closing", "inference"
    for i in range(options.workers):
        yield f"inference-{i + 1}", "inference"
    for i in range(options.delivery):
        yield f"delivery-{i + 1}", "delivery"
    for i in range(options.gateways):
        yield f"gateway-{i + 1}", "gateway"


def plan(
    options: Options, metrics_ports: Mapping[str, int], shared: Mapping[str, str], data: Path
) -> tuple[ServicePlan, ...]:
    """Return every service of this `up`.

    Args:
        metrics_ports: one for each name.
        shared: environment of all: where Kafka and Cassandra are, the internal secret.
        data: the `up`'s directory; what a service keeps lies in it.
    """
    inner = reached(options.service_host)
    gateways = [metrics_ports[name] for name, role in names(options) if role == "gateway"]
    addresses = {
        "gateway": {
            "PARLEY_GATEWAY_HOST": options.host,
            "PARLEY_GATEWAY_PORT": str(options.port),
            "PARLEY_GATEWAY_DELIVERIES": f"http://{reached(options.stream_host)}:{options.stream_port}",
            "PARLEY_GATEWAY_STREAM_PORT": str(options.told_stream_port or options.stream_port),
            **({"PARLEY_GATEWAY_LAYOUT": options.layout} if options.layout is not None else {}),
        },
        "delivery": {
            "PARLEY_DELIVERY_HOST": options.stream_host,
            "PARLEY_DELIVERY_PORT": str(options.stream_port),
            "PARLEY_DELIVERY_GATEWAYS": ",".join(f"http://{inner}:{port}" for port in gateways),
        },
        # Rebuilt from Kafka when it is lost; kept, so that a start is quick.
        "enrichment": {"PARLEY_ENRICHMENT_DATA_DIR": str(data / "enrichment")},
    }
    public = {"gateway": {"http": options.port}, "delivery": {"stream": options.stream_port}}
    services = []
    for name, role in names(options):
        pool = CLOSING_POOL if name == "closing" else DEFAULT_POOL
        worker = {"PARLEY_INFERENCE_POOL": pool, "PARLEY_INFERENCE_ENGINE": _engine(options, pool)}
        services.append(
            ServicePlan(
                name=name,
                role=role,
                ports={**public.get(role, {}), "metrics": metrics_ports[name]},
                host=options.service_host,
                environment={
                    **shared,
                    **addresses.get(role, {}),
                    **(worker if role == "inference" else {}),
                    "PARLEY_SERVICE_METRICS_PORT": str(metrics_ports[name]),
                },
            )
        )
    return tuple(services)


def _engine(options: Options, pool: str) -> str:
    return "closing" if pool == CLOSING_POOL else options.engine
