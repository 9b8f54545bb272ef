"""`parley_queue_turns` and `parley_queue_tokens`: what the gate holds open, by pool and band, worker or none."""

from collections import Counter

from infra.runtime.metrics import Metrics
from stream_processors.enrichment.state import State, Status

_NO_POOL = "none"


class QueueGauges:
    """Counts open turns by partition, so that those of a partition that went are gone too.

    A turn is counted from its acceptance until its TurnCompleted; what its worker has begun is in the worker's metrics.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._turns = metrics.gauge("parley_queue_turns")
        self._tokens = metrics.gauge("parley_queue_tokens")
        self._by_partition: dict[int, Counter[tuple[str, int]]] = {}
        self._tokens_by_partition: dict[int, Counter[tuple[str, int]]] = {}

    def moved(self, partition: int, before: State | None, after: State | None) -> None:
        """A conversation went from one state to another."""
        turns = self._by_partition.setdefault(partition, Counter())
        tokens = self._tokens_by_partition.setdefault(partition, Counter())
        touched: set[tuple[str, int]] = set()
        for state, sign in ((before, -1), (after, 1)):
            for turn in state.turns if state is not None else ():
                if turn.status is Status.ENDING:
                    continue
                label = (turn.pool or _NO_POOL, turn.band)
                turns[label] += sign
                tokens[label] += sign * turn.tokens
                touched.add(label)
        self._show(touched)

    def closed(self, partition: int) -> None:
        """The partition is somebody else's."""
        gone = self._by_partition.pop(partition, Counter())
        self._tokens_by_partition.pop(partition, None)
        self._show(set(gone))

    def _show(self, labels: set[tuple[str, int]]) -> None:
        for label in labels:
            pool, band = label
            turns = sum(each[label] for each in self._by_partition.values())
            tokens = sum(each[label] for each in self._tokens_by_partition.values())
            self._turns.labels(pool, str(band)).set(turns)
            self._tokens.labels(pool, str(band)).set(tokens)
