"""What this worker counts: turns, tokens and times as metrics, and its rate of tokens for the fleet."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from inference_consumers.engines.port import EngineLoad
from inference_consumers.publishing.projecting import verdicts_of
from infra.runtime.metrics import Metrics
from schemas import instants, projection
from schemas.fold import TurnFold

_RATE_WINDOW_S: Final = 5.0


class Counting:
    """The metrics of contract section 9 that a worker owns.

    Args:
        pool: label of the engine's gauges.
        monotonic_s: the clock of the rate.
    """

    def __init__(self, metrics: Metrics, pool: str, monotonic_s: Callable[[], float]) -> None:
        self._pool = pool
        self._monotonic_s = monotonic_s
        self._ttft = metrics.histogram("parley_turn_ttft_seconds")
        self._itl = metrics.histogram("parley_turn_itl_seconds")
        self._duration = metrics.histogram("parley_turn_duration_seconds")
        self._queue = metrics.histogram("parley_turn_queue_seconds")
        self._turns = metrics.counter("parley_turns_total")
        self._tokens = metrics.counter("parley_tokens_total")
        self._slots = metrics.gauge("parley_engine_slots")
        self._kv_usage = metrics.gauge("parley_engine_kv_usage_ratio")
        self._gpu = metrics.gauge("parley_gpu_utilization_ratio")
        self._verdicts = metrics.counter("parley_safety_verdicts_total")
        self._commit_age = metrics.gauge("parley_commit_age_seconds")
        self._made: deque[tuple[float, int]] = deque()
        self._made_tokens = 0

    def turn_ended(self, fold: TurnFold) -> None:
        """A turn was projected by this worker; one that two workers project is counted by both, unlike in usage."""
        end = fold.ended
        usage = None if end is None else projection.usage(fold)
        if end is None or usage is None:
            return
        model, tier = end.model or "none", end.tier
        self._turns.labels(end.reason.value, model, tier).inc()
        for kind in ("prompt", "cached", "generated", "delivered", "withheld", "regenerated", "discarded"):
            self._tokens.labels(kind, model, tier).inc(getattr(usage, f"{kind}_tokens"))
        self._queue.labels(model, tier).observe(usage.queue_ms / 1000)
        self._duration.labels(model, tier).observe(usage.duration_ms / 1000)
        if fold.first_token_at is not None:
            self._ttft.labels(model, tier).observe(usage.ttft_ms / 1000)
        if fold.first_token_at is not None and usage.delivered_tokens > 1:
            spoken_ms = max(0, instants.to_ms(end.at) - instants.to_ms(fold.first_token_at))
            self._itl.labels(model, tier).observe(spoken_ms / 1000 / (usage.delivered_tokens - 1))
        for verdict in verdicts_of(fold, end):
            self._verdicts.labels(verdict.stage.value, verdict.action.value, verdict.rule or "none").inc()

    def tokens_made(self, count: int) -> None:
        """The engine made so many tokens now."""
        self._made.append((self._monotonic_s(), count))
        self._made_tokens += count

    def tokens_per_s(self) -> float:
        """Made in the last seconds, over all slots."""
        now = self._monotonic_s()
        while self._made and self._made[0][0] < now - _RATE_WINDOW_S:
            self._made_tokens -= self._made.popleft()[1]
        return self._made_tokens / _RATE_WINDOW_S

    def engine(self, load: EngineLoad) -> None:
        """How busy the engine is now."""
        self._slots.labels(self._pool, "running").set(load.running)
        self._slots.labels(self._pool, "waiting").set(load.waiting)
        self._slots.labels(self._pool, "free").set(max(0, load.slots - load.running))
        self._kv_usage.set(load.kv_usage)

    def gpus(self, utilization: Mapping[int, float]) -> None:
        """How busy each GPU is now, by its number."""
        for number, ratio in utilization.items():
            self._gpu.labels(str(number)).set(ratio)

    def commit_age(self, group: str, topic: str, partition: int, age_s: float) -> None:
        """How long a partition with unfinished turns has not been committed."""
        self._commit_age.labels(group, topic, str(partition)).set(age_s)
