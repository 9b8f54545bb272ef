"""Traces on the product's code: clean as it is, broken without the rule that each of them asked for."""

import pytest

from tests.simulation.gate_traces import GATE
from tests.simulation.mutants import MUTANTS
from tests.simulation.protocol_traces import PROTOCOL
from tests.simulation.schedule import read, repeat

TRACES = {**PROTOCOL, **GATE}


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_breaks_nothing(name: str) -> None:
    """The product withstands the schedule that breaks it without the rule."""
    scope, text = TRACES[name]
    outcome = repeat(scope, read(text))
    assert outcome.broken is None, outcome.broken


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_needs_its_rule(name: str) -> None:
    """Without the rule the same schedule breaks the promise as the model's trace did."""
    scope, text = TRACES[name]
    mutant = MUTANTS[name]
    with mutant.applied():
        outcome = repeat(scope, read(text))
    assert outcome.broken is not None, mutant.without
    assert outcome.broken.name in mutant.breaks, outcome.broken
