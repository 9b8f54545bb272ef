import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_consumers.engines.settings import SimulatedSettings
from inference_consumers.engines.simulated_batch import Fault, Run, SimulatedBatch, drawn_fault

ONE = SimulatedSettings(ttft_ms=100, tokens_per_s=10, slots=1)


def _run(name: str, tokens: int = 3, **more: object) -> Run:
    return Run(id=name, ids=range(tokens), **more)  # type: ignore[arg-type]


def test_tokens_come_at_the_set_times() -> None:
    """The first token comes after ttft_ms, the others at the rate, and the last one ends the run."""
    batch = SimulatedBatch(ONE)
    batch.add(_run("a"), 0.0)
    assert batch.step(0.09) == []
    assert batch.due_at() == pytest.approx(0.1)
    made = [batch.step(now)[0] for now in (0.1, 0.2, 0.3)]
    assert [list(emission.token_ids) for emission in made] == [[0], [1], [2]]
    assert [emission.is_last for emission in made] == [False, False, True]
    assert (batch.running, batch.due_at()) == (0, None)


def test_a_late_step_catches_up() -> None:
    """A step that comes late makes all tokens that were due: the rate holds."""
    batch = SimulatedBatch(ONE)
    batch.add(_run("a", 10), 0.0)
    assert list(batch.step(0.55)[0].token_ids) == [0, 1, 2, 3, 4]


def test_who_finds_no_slot_waits_by_priority_then_arrival() -> None:
    """A free slot goes to the lowest priority number, then to who came first; its ttft begins there."""
    batch = SimulatedBatch(ONE)
    for run in (_run("a", 1), _run("late", priority=1), _run("b"), _run("c")):
        batch.add(run, 0.0)
    assert (batch.running, batch.waiting) == (1, 3)
    batch.step(0.1)
    assert batch.due_at() == pytest.approx(0.2)
    assert batch.step(0.2)[0].id == "b"
    batch.cancel("c", 0.2)
    batch.cancel("b", 0.2)
    assert batch.step(0.3)[0].id == "late"
    assert batch.waiting == 0


def test_no_rate_means_no_waiting() -> None:
    """tokens_per_s = 0 makes the whole answer at once."""
    batch = SimulatedBatch(SimulatedSettings(ttft_ms=0, tokens_per_s=0))
    batch.add(_run("a", 1000), 5.0)
    (emission,) = batch.step(5.0)
    assert (len(emission.token_ids), emission.is_last) == (1000, True)


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.DIE, Fault.STALL])
def test_faults_come_after_their_tokens(fault: Fault) -> None:
    """A run that is to go wrong makes fault_after_tokens tokens first; a stalled one keeps its slot and ends never."""
    batch = SimulatedBatch(SimulatedSettings(ttft_ms=0, tokens_per_s=0, fault_after_tokens=2))
    batch.add(_run("a", 10, fault=fault), 0.0)
    (emission,) = batch.step(0.0)
    assert (list(emission.token_ids), emission.fault) == ([0, 1], fault)
    assert batch.running == (1 if fault is Fault.STALL else 0)
    assert batch.due_at() is None


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 1)), max_size=30), st.integers(1, 4))
def test_every_run_makes_exactly_its_tokens_in_order(arrivals: list[tuple[int, float]], slots: int) -> None:
    """Whatever comes when, each run makes its own tokens once, and no more than `slots` run at a time."""
    batch = SimulatedBatch(SimulatedSettings(ttft_ms=30, tokens_per_s=100, slots=slots))
    made: dict[str, list[int]] = {}
    now = 0.0
    for place, (tokens, gap) in enumerate(arrivals):
        now += gap
        batch.add(_run(str(place), tokens), now)
        for emission in batch.step(now):
            made.setdefault(emission.id, []).extend(emission.token_ids)
        assert batch.running <= slots
    while (due := batch.due_at()) is not None:
        now = max(now, due)
        for emission in batch.step(now):
            made.setdefault(emission.id, []).extend(emission.token_ids)
    assert made == {str(place): list(range(tokens)) for place, (tokens, _gap) in enumerate(arrivals)}


def test_faults_are_drawn_by_their_rates() -> None:
    """Over many ids each fault has about its share, and one id draws the same always."""
    settings = SimulatedSettings(fail_rate=0.3, stall_rate=0.1, die_rate=0.05)
    drawn = [drawn_fault(settings, str(place)) for place in range(4000)]
    for fault, rate in ((Fault.FAIL, 0.3), (Fault.STALL, 0.1), (Fault.DIE, 0.05)):
        assert math.isclose(drawn.count(fault) / 4000, rate, abs_tol=0.03)
    assert drawn == [drawn_fault(settings, str(place)) for place in range(4000)]
