"""The promise of a resume, literally: an answer cut at every place, between two nodes that are processes."""

import pytest

from tests.delivery.cuts import READERS, Cuts, every_cut
from tests.delivery.process import node_process
from tests.delivery.scene import Scene

TOKENS = 500


@pytest.mark.parametrize("in_lane", [False, True])
async def test_an_answer_of_500_tokens_survives_a_cut_anywhere(scene: Scene, in_lane: bool) -> None:
    """Cut behind any event, a reader ends with the same events at another node; twenty readers see one answer."""
    async with node_process(scene) as first, node_process(scene) as second:
        found = await every_cut(scene, first, second, TOKENS, in_lane=in_lane)
    places = TOKENS + 3  # before the first event, and behind each but the last
    assert found == Cuts(places, places, READERS)
