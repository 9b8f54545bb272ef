"""The promise under blows, briefly; `make chaos` is the long run."""

from pathlib import Path

import pytest

from tests.chaos.plan import Scale
from tests.chaos.report import lines
from tests.chaos.run import pipeline, run

SEED = 11
# Twenty blows, a few seconds apart, and the start and the settling around them.
LIMIT_S = 600


@pytest.mark.timeout(LIMIT_S)
async def test_every_accepted_turn_ends_once_whatever_process_dies(tmp_path: Path) -> None:
    """A hundred turns under twenty kills and freezes: nothing is lost, doubled or changed, for any reader."""
    async with pipeline(tmp_path) as running:
        outcome = await run(running, SEED, Scale(turns=100, conversations=20, side_by_side=3), blows=20)
    assert outcome.is_kept, "\n".join(lines(outcome))
    assert len(outcome.blows.dealt) == 20
