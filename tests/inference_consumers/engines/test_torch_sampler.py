from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from inference_consumers.engines.torch_sampler import Sampling, chance, draw

WARM = Sampling(temperature=1.0, top_p=1.0, seed="s")
SCORES = torch.tensor([[2.0, 1.0, 0.0, -1.0]])


def _draws(sampling: Sampling, scores: torch.Tensor = SCORES, count: int = 2000) -> list[int]:
    return [draw(scores, [sampling], [[0] * place])[0] for place in range(count)]


def test_greedy_takes_the_best() -> None:
    """Temperature 0 is the highest score, whatever the seed."""
    assert draw(SCORES, [replace(WARM, temperature=0.0)], [[]]) == [0]


def test_draws_follow_the_models_shares() -> None:
    """Over many draws each token comes as often as its probability says."""
    drawn = _draws(WARM)
    for token_id, share in enumerate(torch.softmax(SCORES[0], dim=-1).tolist()):
        assert drawn.count(token_id) / len(drawn) == pytest.approx(share, abs=0.04)


def test_top_p_leaves_out_the_tail_and_nothing_else() -> None:
    """Only the likeliest tokens that hold top_p together are drawn; the one that reaches it is among them."""
    assert set(_draws(replace(WARM, top_p=0.6), count=200)) == {0}
    assert set(_draws(replace(WARM, top_p=0.7), count=200)) == {0, 1}


def test_a_flat_score_over_many_tokens_is_sorted_whole() -> None:
    """top_p that the likeliest thousand don't hold still counts from all tokens."""
    drawn = _draws(replace(WARM, top_p=0.99), torch.zeros((1, 5000)), count=300)
    assert len(set(drawn)) > 200


def test_a_draw_depends_on_seed_and_place_alone() -> None:
    """Batch mates and their order change no draw; another seed or place does."""
    other = replace(WARM, seed="t")
    alone = draw(SCORES, [WARM], [[1, 2]])
    both = draw(torch.cat([SCORES.flip(1), SCORES]), [other, WARM], [[], [1, 2]])
    assert both[1] == alone[0]
    assert _draws(WARM, count=50) == _draws(WARM, count=50)
    assert _draws(WARM, count=50) != _draws(other, count=50)


def test_penalties_lower_what_the_answer_holds() -> None:
    """Presence counts once, frequency as often as the token stands in the answer; greedy answers heed them too."""
    greedy = replace(WARM, temperature=0.0)
    assert draw(SCORES, [replace(greedy, presence_penalty=1.5)], [[0]]) == [1]
    assert draw(SCORES, [replace(greedy, frequency_penalty=0.6)], [[0]]) == [0]
    assert draw(SCORES, [replace(greedy, frequency_penalty=0.6)], [[0, 0]]) == [1]
    assert draw(SCORES, [replace(greedy, frequency_penalty=0.6)], [[]]) == [0]


@given(st.text(), st.integers(0, 10**6))
def test_chance_lies_in_the_unit_interval(seed: str, place: int) -> None:
    """No seed and place give 1 or less than 0."""
    assert 0 <= chance(seed, place) < 1
