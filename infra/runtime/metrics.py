"""The metrics of the contract in one table; a service makes those it uses, with the table's names and labels.

No label holds a tenant, user, conversation or turn: that is what `chat.usage` is for.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from schemas.errors import InvariantBroken

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class Kind(StrEnum):
    """What a metric does."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One row: `name` as it is scraped (a counter's ends in `_total`), its labels, and what it says."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


# 1 ms to 10 min, about doubling: the price of the log is told in ms, a queue in minutes.
_WIDE_S: Final = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
)
# Inter-token times: a GPU's 5 ms to a starved CPU's second.
_TOKEN_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)

METRICS: Final[Mapping[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric("parley_turn_ttft_seconds", Kind.HISTOGRAM, "accepted to first token", ("model", "tier"), _WIDE_S),
        Metric("parley_turn_itl_seconds", Kind.HISTOGRAM, "between tokens of a turn", ("model", "tier"), _TOKEN_S),
        Metric("parley_turn_duration_seconds", Kind.HISTOGRAM, "accepted to ended", ("model", "tier"), _WIDE_S),
        Metric("parley_turn_queue_seconds", Kind.HISTOGRAM, "accepted to started", ("model", "tier"), _WIDE_S),
        Metric("parley_turns_total", Kind.COUNTER, "turns that ended", ("reason", "model", "tier")),
        Metric("parley_tokens_total", Kind.COUNTER, "tokens read and made", ("kind", "model", "tier")),
        Metric("parley_queue_turns", Kind.GAUGE, "turns that wait for a worker", ("pool", "band")),
        Metric("parley_queue_tokens", Kind.GAUGE, "prompt tokens that wait for a worker", ("pool", "band")),
        Metric("parley_engine_slots", Kind.GAUGE, "places of the engine's batch", ("pool", "state")),
        Metric("parley_engine_kv_usage_ratio", Kind.GAUGE, "part of the engine's cache that is in use"),
        Metric("parley_gpu_utilization_ratio", Kind.GAUGE, "part of the time the GPU is busy", ("gpu",)),
        Metric("parley_safety_verdicts_total", Kind.COUNTER, "verdicts reached", ("stage", "action", "rule")),
        Metric("parley_stream_connections", Kind.GAUGE, "open WebSockets"),
        Metric("parley_stream_lag_seconds", Kind.HISTOGRAM, "from a record's append to its frame", (), _WIDE_S),
        Metric(
            "parley_commit_age_seconds",
            Kind.GAUGE,
            "since the last commit while records wait, against the last record",
            ("group", "topic", "partition"),
        ),
        Metric("parley_http_requests_total", Kind.COUNTER, "requests answered", ("route", "method", "status")),
        Metric("parley_http_seconds", Kind.HISTOGRAM, "from a request's head to its answer's end", ("route",), _WIDE_S),
        Metric("parley_http_open", Kind.GAUGE, "requests being answered, streams among them"),
        Metric("parley_spare_topics", Kind.GAUGE, "own topics ready for conversations to come"),
        Metric("parley_build_info", Kind.GAUGE, "1, labelled with what runs", ("version", "python", "role")),
    )
}


class Metrics:
    """One process's registry: its own metrics, and those of the process itself (memory, CPU, file descriptors).

    Args:
        role: the service.
    """

    def __init__(self, role: str) -> None:
        self.registry: Final = CollectorRegistry()
        self._made: dict[str, Counter | Gauge | Histogram] = {}
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.gauge("parley_build_info").labels(installed_version(), platform.python_version(), role).set(1)

    def counter(self, name: str) -> Counter:
        """The counter of that row, made at first use. Raises InvariantBroken when no row says so."""
        made = self._metric(name, Kind.COUNTER)
        if not isinstance(made, Counter):
            raise InvariantBroken(f"{name} is not a counter")
        return made

    def gauge(self, name: str) -> Gauge:
        """The gauge of that row, made at first use. Raises InvariantBroken when no row says so."""
        made = self._metric(name, Kind.GAUGE)
        if not isinstance(made, Gauge):
            raise InvariantBroken(f"{name} is not a gauge")
        return made

    def histogram(self, name: str) -> Histogram:
        """The histogram of that row, made at first use. Raises InvariantBroken when no row says so."""
        made = self._metric(name, Kind.HISTOGRAM)
        if not isinstance(made, Histogram):
            raise InvariantBroken(f"{name} is not a histogram")
        return made

    def exposition(self) -> bytes:
        """What `/metrics` answers."""
        return generate_latest(self.registry)

    def _metric(self, name: str, kind: Kind) -> Counter | Gauge | Histogram:
        if name in self._made:
            return self._made[name]
        row = METRICS.get(name)
        if row is None or row.kind is not kind:
            raise InvariantBroken(f"the table of metrics has no {kind} {name}")
        made: Counter | Gauge | Histogram
        match row.kind:
            case Kind.COUNTER:
                # The client library puts `_total` on by itself.
                made = Counter(name.removesuffix("_total"), row.help, row.labels, registry=self.registry)
            case Kind.GAUGE:
                made = Gauge(name, row.help, row.labels, registry=self.registry)
            case Kind.HISTOGRAM:
                made = Histogram(name, row.help, row.labels, buckets=row.buckets, registry=self.registry)
        self._made[name] = made
        return made


def installed_version() -> str:
    """This program's version; `unknown` when it runs from a tree that was never installed."""
    try:
        return version("parley")
    except PackageNotFoundError:
        return "unknown"
