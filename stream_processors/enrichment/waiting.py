"""`parley_queue_turns` and `parley_queue_tokens`: what the gate holds open, by pool and band, worker or none.

And who was dispatched to a pool before whom, which is what `turn.queued` tells.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable

from infra.runtime.metrics import Metrics
from schemas.ids import TurnId
from stream_processors.enrichment.state import OpenTurn, State, Status

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
        self._places: dict[int, dict[TurnId, tuple[str, int]]] = defaultdict(dict)  # partition > turn > pool, number
        self._lines: dict[str, list[int]] = defaultdict(list)  # pool > numbers of its turns, rising
        self._number = 0
        self._shown: set[tuple[str, int]] = set()

    def expect(self, pools: Iterable[str], bands: Iterable[int]) -> None:
        """These pools are deployed: they have a queue, be it an empty one."""
        labels = {(pool, band) for pool in pools for band in bands} - self._shown
        self._show(labels)

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
        self._line_up(partition, before, after)

    def dispatched(self, pool: str) -> int:
        """Open turns that this process has sent there."""
        return len(self._lines.get(pool, ()))

    def before(self, turn: OpenTurn) -> int:
        """Those of them that went before this one."""
        for places in self._places.values():
            if turn.turn in places:
                pool, number = places[turn.turn]
                return bisect_left(self._lines[pool], number)
        return self.dispatched(turn.pool or _NO_POOL)

    def _line_up(self, partition: int, before: State | None, after: State | None) -> None:
        places = self._places[partition]
        turn = None if after is None else after.active
        for gone in before.turns if before is not None else ():
            stays = turn is not None and gone.turn == turn.turn and gone.pool == turn.pool
            if gone.turn in places and not stays:
                self._leave(*places.pop(gone.turn))
        if turn is not None and turn.pool is not None and turn.turn not in places:
            self._number += 1
            places[turn.turn] = (turn.pool, self._number)
            self._lines[turn.pool].append(self._number)

    def _leave(self, pool: str, number: int) -> None:
        line = self._lines[pool]
        del line[bisect_left(line, number)]

    def closed(self, partition: int) -> None:
        """The partition is somebody else's."""
        gone = self._by_partition.pop(partition, Counter())
        self._tokens_by_partition.pop(partition, None)
        for place in self._places.pop(partition, {}).values():
            self._leave(*place)
        self._show(set(gone))

    def _show(self, labels: set[tuple[str, int]]) -> None:
        self._shown |= labels
        for label in labels:
            pool, band = label
            turns = sum(each[label] for each in self._by_partition.values())
            tokens = sum(each[label] for each in self._tokens_by_partition.values())
            self._turns.labels(pool, str(band)).set(turns)
            self._tokens.labels(pool, str(band)).set(tokens)
