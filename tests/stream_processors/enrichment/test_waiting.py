"""Who stands before whom in a pool."""

from dataclasses import replace

from infra.runtime.metrics import Metrics
from stream_processors.enrichment.state import OpenTurn, State, Status
from stream_processors.enrichment.waiting import QueueGauges
from tests.stream_processors.enrichment.simulation import CONVERSATION, turn_id


def _active(number: int, pool: str = "a") -> State:
    turn = OpenTurn(turn=turn_id(number), status=Status.ACTIVE, order=number, deadline_ms=9, pool=pool)
    return State(conversation=CONVERSATION, turns=(turn,))


def test_a_line_moves_up_when_one_before_leaves() -> None:
    """Places follow the order of dispatch in each pool, over all partitions, and go with their partition."""
    gauges = QueueGauges(Metrics("enrichment"))
    states = [_active(number) for number in range(4)]
    for number, state in enumerate(states):
        gauges.moved(number % 2, None, state)
    last = states[3].turns[0]
    assert (gauges.dispatched("a"), gauges.before(last)) == (4, 3)
    gauges.moved(0, states[0], replace(states[0], turns=()))
    assert (gauges.dispatched("a"), gauges.before(last)) == (3, 2)
    gauges.moved(1, states[1], _active(1, "closing"))
    assert (gauges.dispatched("a"), gauges.before(last)) == (2, 1)
    gauges.closed(0)
    assert (gauges.dispatched("a"), gauges.before(last)) == (1, 0)


def test_a_deployed_pool_has_a_queue_before_any_turn() -> None:
    """Both gauges stand at 0 for each band of a pool, and what waits there already is left as it is."""
    metrics = Metrics("enrichment")
    gauges = QueueGauges(metrics)
    gauges.moved(0, None, _active(1))
    gauges.expect(["a", "b"], {0, 1})
    shown = metrics.exposition().decode()
    for pool, band, turns in (("a", 0, 1), ("a", 1, 0), ("b", 0, 0), ("b", 1, 0)):
        assert f'parley_queue_turns{{band="{band}",pool="{pool}"}} {turns}.0' in shown
        assert f'parley_queue_tokens{{band="{band}",pool="{pool}"}} 0.0' in shown
