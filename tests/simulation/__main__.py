"""`python -m tests.simulation --runs N --seed S --jobs J`: the long search; see DESIGN.md, "The simulation"."""

import argparse
import sys
import time

from tests.simulation.mutants import MUTANTS
from tests.simulation.searching import Found, Tally, at_random, find, quiet, search

_TOLD = 3


def main() -> int:
    """Search, print what was done, and tell the first breaks step by step; 1 when there are any."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000, help="complete runs (20000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first run; each next has the next (0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="take a rule away and tell the first break")
    given = parser.parse_args()
    if given.mutant is not None:
        return _hunt(given.mutant, given.runs, given.seed)
    began = time.monotonic()
    tally = search(given.runs, given.seed, given.jobs, _progress)
    print(tally.told(time.monotonic() - began), flush=True)
    for seed, _why in tally.breaks[:_TOLD]:
        with quiet():
            print(Found(0, seed, *at_random(seed)).told())
    return 1 if tally.breaks else 0


def _progress(tally: Tally, new: Tally, seconds: float) -> None:
    for seed, why in new.breaks:
        print(f"seed {seed}: {why}", file=sys.stderr)
    print(f"{tally.runs} runs, {len(tally.breaks)} breaks, {seconds:.0f} s", file=sys.stderr, flush=True)


def _hunt(name: str, most: int, seed: int) -> int:
    mutant = MUTANTS[name]
    with mutant.applied():
        found = find(lambda broken: broken.name in mutant.breaks, suits=mutant.suits, most=most, seed=seed)
        if found is None:
            print(f"{name} is not found in {most} runs")
            return 1
        with quiet():
            print(f"{name}, without the rule that {mutant.without}: found after {found.runs} runs\n{found.told()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
