"""`python -m tests.chaos`: kill everything, again and again, and see whether the promise holds.

Prints a table of kills by tier and of the result by invariant; exits 1 when one is broken. The same seed makes the same
plan: who says what, who is stopped or cut, who is killed.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos.plan import Scale
from tests.chaos.report import lines
from tests.chaos.run import Outcome, pipeline, run


async def _one(seed: int, scale: Scale, folder: Path) -> Outcome:
    async with pipeline(folder) as running:
        return await run(running, seed, scale, say=_say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Run it and print."""
    whole = Scale()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--turns", type=int, default=whole.turns)
    parser.add_argument("--conversations", type=int, default=whole.conversations)
    parser.add_argument("--side-by-side", type=int, default=whole.side_by_side, help="conversations that speak at once")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the pipeline's data and logs there")
    arguments = parser.parse_args()
    scale = Scale(turns=arguments.turns, conversations=arguments.conversations, side_by_side=arguments.side_by_side)
    # Told to end, it still takes its pipeline down.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(_one(arguments.seed, scale, arguments.keep or Path(folder)))
    for line in lines(outcome):
        print(line)
    return 0 if outcome.is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
