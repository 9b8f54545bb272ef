"""Who is started next."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from inference_consumers.scheduling.look_ahead import LookAhead
from tests.inference_consumers.scheduling.entries import entry


def _filled(*entries: object) -> LookAhead:
    queue = LookAhead()
    for each in entries:
        queue.add(each)  # type: ignore[arg-type]
    return queue


def test_an_empty_queue_has_no_next() -> None:
    """Nothing waits, nothing starts."""
    queue = LookAhead()
    assert queue.next() is None
    assert queue.next_deadline_ms is None
    assert len(queue) == 0


def test_a_lower_band_comes_first() -> None:
    """Priority outranks service and arrival."""
    later, first = entry(priority=1), entry(priority=0)
    queue = _filled(later, first)
    assert [queue.next(), queue.next()] == [first, later]


def test_a_tenants_turns_keep_their_order() -> None:
    """Inside a tenant the order of arrival holds."""
    entries = [entry("a") for _ in range(5)]
    queue = _filled(*entries)
    assert [queue.next() for _ in entries] == entries


def test_free_slots_are_shared_at_once() -> None:
    """Slots that become free together go to tenants in turn, though one of them came first with many."""
    queue = _filled(*[entry("a") for _ in range(8)], *[entry("b") for _ in range(8)])
    taken = [queue.next() for _ in range(8)]
    tenants = [each.tenant for each in taken if each is not None]
    assert tenants.count("a") == tenants.count("b") == 4


def test_weights_share_slots() -> None:
    """A tenant of weight 3 gets three times the service of one of weight 1."""
    queue = _filled(*[entry("a", weight=3.0) for _ in range(20)], *[entry("b") for _ in range(20)])
    tenants = [each.tenant for each in (queue.next() for _ in range(16)) if each is not None]
    assert tenants.count("a") == 12


def test_a_removed_turn_is_not_started() -> None:
    """What was stopped or given back is in no queue any more."""
    first, second = entry("a"), entry("a")
    queue = _filled(first, second)
    assert queue.remove(first.source) == first
    assert queue.remove(first.source) is None
    assert first.source not in queue
    assert queue.next() == second


def test_overdue_turns_come_out_once() -> None:
    """What is past its deadline is taken out of the queue; what was started or removed is not overdue."""
    started, gone, late, early = entry(deadline=5), entry(deadline=5), entry(deadline=7), entry(deadline=100)
    queue = _filled(started, gone, late, early)
    assert queue.next() == started
    queue.remove(gone.source)
    assert queue.next_deadline_ms == 7
    assert queue.overdue(6) == []
    assert queue.overdue(7) == [late]
    assert queue.overdue(99) == []
    assert len(queue) == 1


def test_turns_are_found_for_stops() -> None:
    """Waiting turns are found by turn."""
    one, other = entry(), entry()
    queue = _filled(one, other)
    assert queue.of_turn(one.turn) == [one]


def test_the_lowest_of_a_partition_are_given_back_first() -> None:
    """Of a crowded partition the lowest offsets hold the commit back."""
    entries = [entry(partition=number % 2) for number in range(6)]
    queue = _filled(*reversed(entries))
    assert queue.lowest_of("inference.default", 0, 2) == [entries[0], entries[2]]


def test_a_lost_partition_is_forgotten() -> None:
    """Turns of a partition that went are nobody's here."""
    entries = [entry(partition=number % 2) for number in range(4)]
    queue = _filled(*entries)
    queue.drop("inference.default", [0])
    assert [queue.next(), queue.next(), queue.next()] == [entries[1], entries[3], None]


@settings(max_examples=50)
@given(st.integers(2, 5), st.integers(1, 8), st.randoms(use_true_random=False), st.integers(1, 60))
def test_backlogged_tenants_stay_within_the_bound(tenants: int, slots: int, random: Random, longest: int) -> None:
    """The service of tenants that always have work differs by at most 2 max(prompt, 2 x tokens in the batch)."""
    queue = LookAhead()
    names = [f"t{number}" for number in range(tenants)]
    cost = 20
    for name in names:
        for _ in range(4):
            queue.add(entry(name, cost=cost))
    running: list[list[object]] = []
    bound = 2 * max(cost, 2 * slots * longest) + cost
    for _ in range(300):
        while len(running) < slots:
            taken = queue.next()
            assert taken is not None  # work conservation: no slot stays free while somebody waits
            queue.add(entry(taken.tenant, cost=cost))
            running.append([taken, random.randint(1, longest)])
        for each in list(running):
            queue.charge(each[0], generated_tokens=1)  # type: ignore[arg-type]
            each[1] -= 1  # type: ignore[operator]
            if each[1] == 0:
                running.remove(each)
                queue.done(each[0])  # type: ignore[arg-type]
        service = [queue.service(name) for name in names]
        assert max(service) - min(service) <= bound
