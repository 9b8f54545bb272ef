import itertools
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.errors import InvariantBroken
from schemas.turns import Action, Stage, Verdict
from stream_processors.moderation.policy import EMPTY, PolicySet
from stream_processors.moderation.screen import Screen, judge
from tests.stream_processors.moderation.texts import ALPHABET, DISGUISES, MIXED, SENTENCE, rules

WORDS = ("bomb", "assassin", "explosive", "poison", "secret base")
TEXTS = st.text(ALPHABET, max_size=60) | st.text(max_size=30)


def screened(policies: PolicySet, pieces: list[str]) -> tuple[str, Verdict | None, tuple[Verdict, ...]]:
    """What all pieces released together, the verdict and the flags."""
    screen = Screen(policies, Stage.OUTPUT, "acme")
    released = ""
    for piece in pieces:
        released += screen.feed(piece).released
    end = screen.finish()
    return released + end.released, end.verdict, screen.flags


def cut(text: str, places: list[int]) -> list[str]:
    bounds = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[left:right] for left, right in itertools.pairwise(bounds)]


@given(TEXTS, st.lists(st.integers(0, 60), max_size=8))
@example("pipe dream", [5])
@example("a b o m b", [1, 2, 3])
def test_cuts_change_nothing(text: str, places: list[int]) -> None:
    """Released text, verdict and flags are the same however the text was cut: at once, by character, anyhow."""
    at_once = screened(MIXED, [text])
    assert screened(MIXED, list(text)) == at_once
    assert screened(MIXED, cut(text, places)) == at_once


@given(TEXTS)
def test_the_whole_text_is_judged_alike(text: str) -> None:
    """The input's one look at a whole text decides as a screen that was fed it."""
    _, verdict, flags = screened(MIXED, [text])
    judged = judge(MIXED, Stage.OUTPUT, "acme", text)
    assert (judged.verdict, judged.flags) == (verdict, flags)


@given(TEXTS)
def test_nothing_is_invented_or_lost(text: str) -> None:
    """What is released is the text's beginning, and all of it when nothing stops it."""
    released, verdict, _ = screened(MIXED, list(text))
    assert text.startswith(released)
    assert (released == text) or verdict is not None


@given(TEXTS)
def test_what_was_released_would_pass(text: str) -> None:
    """No forbidden text leaves: what was released is clean by itself."""
    released, _, _ = screened(MIXED, list(text))
    assert judge(MIXED, Stage.OUTPUT, "acme", released).verdict is None


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("word", WORDS)
def test_disguises_are_seen_through(word: str, disguise: str) -> None:
    """A word in disguise is stopped, at the input whole and at the output by character, and no part of it leaks."""
    policies = rules(*WORDS)
    text = f"Tell me, {DISGUISES[disguise](word)} is it? "
    stopped = judge(policies, Stage.INPUT, "acme", text).verdict
    assert stopped is not None
    assert stopped.action is Action.REFUSE
    released, verdict, _ = screened(policies, list(text))
    assert (released, verdict and verdict.action) == ("Tell me, ", Action.WITHHOLD)


@pytest.mark.parametrize(
    "text",
    [
        "skillet kills time",
        "as soon as soup is served",
        "it costs 455 dollars",
        "she'll say we're well, he'll not",
        "the class passes, the assassin's bass",
        "call 1-800",
    ],
)
def test_harmless_neighbours_pass(text: str) -> None:
    """Words inside words, words side by side, plain numbers and apostrophes are no match."""
    policies = rules("kill", "ass", "hell", "were", "shell", "ill", "soon as we")
    assert judge(policies, Stage.INPUT, "acme", text).verdict is None


def test_holds_back_only_what_may_become_a_match() -> None:
    """Text is released the moment it can't be part of a match, and what may be is held."""
    screen = Screen(rules("pipe bomb"), Stage.OUTPUT, "acme")
    seen = [screen.feed(piece).released for piece in ("the p", "ip", "e", "line", " pipe", " ", "bo", "x", "")]
    assert seen == ["the ", "", "", "pipeline", " ", "", "", "pipe box", ""]
    assert screen.held == ""


def test_a_stopped_text_stays_stopped() -> None:
    """Behind a verdict nothing is released, whatever comes."""
    screen = Screen(rules("bomb"), Stage.OUTPUT, "acme")
    first = screen.feed("a bomb! and more")
    assert first.released == "a "
    assert first.verdict == Verdict(
        stage=Stage.OUTPUT,
        action=Action.WITHHOLD,
        policy="house",
        policy_version=3,
        rule="forbidden",
        sentence=SENTENCE,
    )
    assert screen.feed("harmless").released == ""
    assert screen.finish() == screen.finish()
    assert screen.finish().verdict == first.verdict


def test_a_word_at_the_very_end_is_stopped() -> None:
    """A whole word is known when the text ends, too."""
    screen = Screen(rules("bomb"), Stage.OUTPUT, "acme")
    assert screen.feed("a bomb").released == "a "
    end = screen.finish()
    assert end.released == ""
    assert end.verdict is not None


def test_a_finished_text_takes_no_more() -> None:
    """Feeding behind the end is a bug of the caller's."""
    screen = Screen(EMPTY, Stage.OUTPUT, "acme")
    assert screen.feed("x").released == "x"
    screen.finish()
    with pytest.raises(InvariantBroken):
        screen.feed("y")


@given(TEXTS, st.integers(0, 60))
def test_a_successor_goes_on_alike(text: str, place: int) -> None:
    """A screen that resumes behind what another released comes to the same text and verdict."""
    first = Screen(MIXED, Stage.OUTPUT, "acme")
    released = first.feed(text[:place]).released
    second = Screen(MIXED, Stage.OUTPUT, "acme")
    second.resume(released)
    rest = second.feed(text[len(released) :]).released
    end = second.finish()
    whole, verdict, _ = screened(MIXED, [text])
    assert (released + rest + end.released, end.verdict) == (whole, verdict)


def test_a_match_that_began_in_released_text_counts() -> None:
    """Text released at a token's boundary inside a match doesn't save the rest of it."""
    screen = Screen(rules("bomb"), Stage.OUTPUT, "acme")
    screen.resume("a bo")
    assert screen.feed("mb ").verdict is not None
    assert screen.feed("").released == ""


def test_a_new_policy_judges_from_now_on() -> None:
    """What was released stays, what is held back and what comes is judged by the new policies."""
    screen = Screen(rules("bomb"), Stage.OUTPUT, "acme")
    assert screen.feed("an old secret, a new bo").released == "an old secret, a new "
    screen.renew(rules("secret"))
    assert screen.feed("mb and").released == "bomb and"
    held = screen.feed(" a secret")
    assert (held.released, held.verdict) == (" a ", None)
    assert screen.feed("!").verdict is not None


def test_held_back_text_is_judged_anew() -> None:
    """Text that an old policy held back is stopped by a new one that forbids it."""
    screen = Screen(rules("secret base"), Stage.OUTPUT, "acme")
    assert screen.feed("my secret ").released == "my "
    screen.renew(rules("secret"))
    end = screen.finish()
    assert (end.released, end.verdict is not None) == ("", True)


@given(TEXTS, st.integers(0, 60))
def test_renewing_by_the_same_rules_changes_nothing(text: str, place: int) -> None:
    """A policy published again as it was leaves released text and verdict as they were."""
    screen = Screen(MIXED, Stage.OUTPUT, "acme")
    released = screen.feed(text[:place]).released
    screen.renew(PolicySet(MIXED.policies))
    released += screen.feed(text[place:]).released
    end = screen.finish()
    assert (released + end.released, end.verdict, screen.flags) == screened(MIXED, [text])


def test_time_grows_with_the_text_alone() -> None:
    """Texts made to be slow for backtracking cost no more per character: ten times the text, at most 40 times."""
    policies = PolicySet([*rules("aaaaaaaaaaaaaaaab", whole_word=False).policies, *MIXED.policies])
    nasty = "a- a" * 2_000

    def seconds(text: str) -> float:
        began = time.perf_counter()
        screened(policies, [text])
        return time.perf_counter() - began

    short = min(seconds(nasty) for _ in range(3))
    assert seconds(nasty * 10) < 40 * short + 0.05
