"""What a seed decides."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.plan import FREEZABLE, KillPlan, Scale, Tier, TurnPlan, Way, conversations, kills

WHOLE = Scale()


def turns(seed: int) -> list[TurnPlan]:
    return [turn for conversation in conversations(seed, WHOLE) for turn in conversation.turns]


def first_kills(seed: int, count: int) -> list[KillPlan]:
    return list(itertools.islice(kills(seed), count))


@given(st.integers(0, 2**32))
def test_a_seed_decides_everything(seed: int) -> None:
    """The same seed makes the same plan again, and another seed another one."""
    small = Scale(turns=20, conversations=4)
    assert conversations(seed, small) == conversations(seed, small)
    assert conversations(seed, small) != conversations(seed + 1, small)
    assert first_kills(seed, 20) == first_kills(seed, 20)


@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 1000))
def test_every_turn_is_somewhere_under_a_key_of_its_own(count: int, among: int, seed: int) -> None:
    """The turns are spread over the conversations, none is left out, and no two share an idempotency key."""
    planned = conversations(seed, Scale(turns=count, conversations=among))
    keys = [turn.key for conversation in planned for turn in conversation.turns]
    assert (len(planned), len(keys), len(set(keys))) == (among, count, count)


def test_a_whole_run_has_the_shares_that_were_asked_for() -> None:
    """About 30 % of the turns are stopped and 30 % of the sockets cut, in every way of sending but the unstored one."""
    planned = turns(1)
    stopped = [turn for turn in planned if turn.stop_after_s is not None]
    assert 0.25 < len(stopped) / len(planned) < 0.35
    assert 0.25 < sum(turn.cut_after_s is not None for turn in planned) / len(planned) < 0.35
    assert {turn.way for turn in planned} == set(Way)
    assert {turn.way for turn in stopped} == set(Way) - {Way.UNSTORED}


def test_every_tier_is_struck_and_only_members_of_groups_are_frozen() -> None:
    """Each tier gets its share of the blows, 2 to 5 s apart; workers and processors are also stopped and continued."""
    dealt = first_kills(1, 400)
    assert all(2 <= blow.wait_s <= 5 for blow in dealt)
    assert all(sum(blow.tier is tier for blow in dealt) > 25 for tier in Tier)
    assert {blow.tier for blow in dealt if blow.freeze_s is not None} == FREEZABLE
