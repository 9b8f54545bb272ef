"""Pieces through the real screen."""

from hypothesis import given
from hypothesis import strategies as st

from inference_consumers.generating.releaser import Releaser
from schemas.turns import Action, Stage
from stream_processors.moderation.policy import Policy, PolicySet, Rule, RuleAction
from stream_processors.moderation.screen import Screen

POLICIES = PolicySet(
    [
        Policy(
            "p",
            3,
            "Not that.",
            [Rule(rule="secret", texts=("top secret",)), Rule(rule="note", texts=("maybe",), action=RuleAction.FLAG)],
        )
    ]
)


def _releaser(released: str = "") -> Releaser:
    screen = Screen(POLICIES, Stage.OUTPUT, "acme", "standard")
    if released:
        screen.resume(released)
    return Releaser(screen)


def _all(releaser: Releaser, words: list[str]) -> str:
    out = []
    for number, word in enumerate(words):
        out += releaser.push(word, (number,))
    if releaser.stopped_by is None:
        out += releaser.finish()
    return "".join(piece.text for piece in out)


def test_harmless_text_passes_piece_by_piece() -> None:
    """What can't become a match leaves at once, with its tokens."""
    releaser = _releaser()
    [piece] = releaser.push("hello ", (1, 2))
    assert (piece.text, piece.token_ids) == ("hello ", (1, 2))
    assert releaser.held_tokens == 0


def test_a_possible_match_is_held_whole() -> None:
    """A piece that may begin a match waits, whole, until it can't; then both leave in order."""
    releaser = _releaser()
    assert releaser.push("a top", (1,)) == []
    assert releaser.held_tokens == 1
    assert [piece.text for piece in releaser.push(" hat", (2,))] == ["a top", " hat"]
    assert releaser.verdicts == ()


def test_a_match_ends_the_answer() -> None:
    """The pieces that hold the match stay here; the verdict names rule, version and sentence."""
    releaser = _releaser()
    assert _all(releaser, ["fine. ", "top ", "sec", "ret", " plan"]) == "fine. "
    assert releaser.stopped_by is not None
    assert releaser.stopped_by.action is Action.WITHHOLD
    assert (releaser.stopped_by.rule, releaser.stopped_by.policy_version) == ("secret", 3)
    assert releaser.stopped_by.sentence == "Not that."
    assert releaser.held_tokens == 4


def test_a_flag_is_told_and_stops_nothing() -> None:
    """A flagging rule's verdict is kept while the text passes."""
    releaser = _releaser()
    assert _all(releaser, ["may", "be", " so"]) == "maybe so"
    assert [verdict.rule for verdict in releaser.verdicts] == ["note"]


def test_a_match_that_began_before_the_takeover_counts() -> None:
    """A successor's screen stands behind the released text: the rest of a match ends the answer."""
    releaser = _releaser("the top ")
    assert _all(releaser, ["secret", " plan"]) == ""
    assert releaser.stopped_by is not None


def test_tokens_without_text_keep_their_place() -> None:
    """Ids that add nothing leave with the text before them."""
    releaser = _releaser()
    assert [piece.token_ids for piece in releaser.push("", (1,))] == [(1,)]
    releaser.push("top", (2,))
    assert releaser.push("", (3,)) == []
    assert [piece.token_ids for piece in releaser.push("s!", (4,))] == [(2,), (3,), (4,)]


@given(st.lists(st.sampled_from(["top", " ", "secret", "to", "p sec", "ret", "x", "maybe", ""]), max_size=20))
def test_what_is_shown_never_depends_on_the_cut(words: list[str]) -> None:
    """Shown text is a beginning of the answer, whole unless stopped, and the verdict is that of the whole text."""
    text = "".join(words)
    pieces, single = _releaser(), _releaser()
    shown = _all(pieces, words)
    _all(single, list(text))
    assert text.startswith(shown)
    assert (pieces.stopped_by is None) == (shown == text)
    assert (pieces.stopped_by is None) == (single.stopped_by is None)
