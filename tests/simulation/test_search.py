"""The seeded search: what the product withstands, and that whoever takes a rule away is found."""

import contextvars
import gc
import sys

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.schedule import repeat, told
from tests.simulation.scope import FAULTS, SILENCE, WISHES
from tests.simulation.searching import Found, at_random, chunk, find, quiet

# Each kind of fault and wish comes that often at the least in so many runs, or they show little of it.
_LEAST = 50
# Some ten times what each took when it was written: `python -m tests.simulation --mutant NAME` tells the number.
_MOST = 6_000
# Rarer than that, by `--mutant` alone: T9 took 2 687 runs, `state first` 47 060; the others need schedules that some
# ten thousand did not meet, and have traces or cases of their own.
_LONG = ("T9", "T10 ending", "usage", "state first", "erased", "theirs", "unclosed")


def test_the_promise_holds_in_runs_at_random() -> None:
    """Some thousand runs, each with its own scope and schedule: nothing breaks, and all faults happened."""
    tally = chunk(range(3_000))
    if tally.breaks:
        seed, _why = tally.breaks[0]
        with quiet():
            pytest.fail(Found(0, seed, *at_random(seed)).told())
    assert len(tally.schedules) > 0.98 * tally.runs
    rare = {kind: tally.spent[kind] for kind in (*FAULTS, *WISHES, SILENCE) if tally.spent[kind] <= _LEAST}
    assert not rare, f"hardly ever happened: {rare}"


def test_a_seed_is_a_run() -> None:
    """The same seed gives the same schedule and the same log."""
    with quiet():
        (_, first), (_, second) = at_random(7), at_random(7)
    assert first.steps == second.steps
    assert first.world.watch.own.taken == second.world.watch.own.taken


def test_a_run_can_be_repeated_from_its_steps() -> None:
    """The steps that were taken lead to the same log again: what is printed of a break shows the break."""
    with quiet():
        scope, outcome = at_random(11)
        again = repeat(scope, outcome.steps, strictly=True)
    assert again.steps == outcome.steps
    assert again.world.watch.own.taken == outcome.world.watch.own.taken


@pytest.mark.parametrize("name", [name for name in MUTANTS if name not in _LONG])
def test_a_rule_taken_away_is_found(name: str) -> None:
    """Without any one of the rules the search finds a break of the kind that the rule prevents."""
    mutant = MUTANTS[name]
    with mutant.applied():
        found = find(lambda broken: broken.name in mutant.breaks, suits=mutant.suits, most=_MOST)
    assert found is not None, f"{mutant.without}: not missed in {_MOST} runs"
    print(f"{name}: found after {found.runs} runs, {len(found.outcome.steps)} steps\n{told(found.outcome.steps)}")


def test_a_run_that_breaks_leaves_nothing_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run cut short drops its processes where they stand: none is collected later, in whoever's context runs then."""
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    with quiet(), MUTANTS["T1"].applied():
        for seed in range(300):
            contextvars.Context().run(at_random, seed)
    gc.collect()
    assert not unraisable
