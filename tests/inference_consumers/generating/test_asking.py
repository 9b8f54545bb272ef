"""What the engine is asked for."""

from inference_consumers.generating.asking import asked
from schemas.turns import Options
from tests.inference_consumers.generating.courses import Stage, dispatch
from tests.support.samples import TURN


def test_what_was_shown_stands_before_the_request() -> None:
    """The rest of the budget, behind the shown ids and their text."""
    request = asked(dispatch(options=Options(max_tokens=5)), TURN, "id", [1, 2], "ab", Stage(None).tools())
    assert (request.emitted_token_ids, request.emitted_text, request.max_tokens) == ((1, 2), "ab", 3)


def test_an_engine_that_cannot_continue_is_asked_for_all_of_it() -> None:
    """Nothing is emitted, and the whole budget is there."""
    tools = Stage(None, can_continue=False).tools()
    request = asked(dispatch(options=Options(max_tokens=5)), TURN, "id", [1, 2], "ab", tools)
    assert (request.emitted_token_ids, request.emitted_text, request.max_tokens) == ((), "", 5)


def test_a_turn_draws_alike_on_every_worker() -> None:
    """A turn without a seed has one of its id; its own wins."""
    tools = Stage(None).tools()
    seeds = {asked(dispatch(), TURN, f"id{number}", [], "", tools).seed for number in range(3)}
    assert len(seeds) == 1
    assert asked(dispatch(options=Options(seed=7)), TURN, "id", [], "", tools).seed == 7
