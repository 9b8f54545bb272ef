from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.moderation import matcher
from stream_processors.moderation.literal import GAP, MAX_UNITS, LiteralError, spell
from stream_processors.moderation.matcher import Automaton, Term


@dataclass(frozen=True)
class Found:
    order: int
    stops: bool = True


def automaton(*texts: str, whole_word: bool = False, flags: tuple[str, ...] = ()) -> Automaton[Found]:
    terms = [
        Term(Found(order, text not in flags), spell(text, whole_word=whole_word)) for order, text in enumerate(texts)
    ]
    return Automaton(terms)


def test_a_text_is_spelled_in_its_ways() -> None:
    """A phrase is spelled together with gaps between its words, and letter by letter."""
    together, apart = spell("Pipe  bomb", whole_word=True)
    assert together.units == ("p", "i", "p", "e", GAP, "b", "o", "m", "b")
    assert apart.units == tuple(GAP.join("pipebomb"))
    assert (together.is_loose, apart.is_loose) == (True, False)
    assert (together.begins_word, together.ends_word) == (True, True)


@pytest.mark.parametrize(("text", "ways"), [("ab", 1), ("abc", 2), ("c++", 1), ("炸弹", 2), ("炸", 1)])
def test_short_words_and_signs_are_not_spread(text: str, ways: int) -> None:
    """Two letters side by side are no spread word, and what has signs of its own isn't spread either."""
    assert len(spell(text, whole_word=True)) == ways


@pytest.mark.parametrize("text", ["", "  ", "\u200b", "x" * (MAX_UNITS + 1)])
def test_what_nothing_could_match_is_refused(text: str) -> None:
    """An empty text and one beyond the bound are no rules."""
    with pytest.raises(LiteralError):
        spell(text, whole_word=True)


@given(
    st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=5, unique=True), st.text("abcd", max_size=15)
)
def test_finds_what_a_plain_search_finds(words: list[str], text: str) -> None:
    """Over plain letters, a rule inside words matches exactly the texts that hold it."""
    state = automaton(*words).judge(text)
    assert (state.stopped is not None) == any(word in text for word in words)


@given(
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4, unique=True), st.text("abc d", max_size=15)
)
def test_flags_are_those_a_plain_search_finds(words: list[str], text: str) -> None:
    """Rules that only tell are all told, whatever else matches before."""
    told = {each.order for each in automaton(*words, flags=tuple(words)).judge(text.replace(" ", "d")).flagged}
    assert told == {order for order, word in enumerate(words) if word in text.replace(" ", "d")}


def test_of_two_at_one_place_the_first_rule_speaks() -> None:
    """When two rules match with the same character, the lower order is the answer."""
    found = automaton("xyz", "yz").judge("xyz").stopped
    assert found is not None
    assert found.order == 0
    found = automaton("yz", "xyz").judge("xyz").stopped
    assert found is not None
    assert found.order == 0


def test_what_is_forgotten_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of ever new characters makes the moves be forgotten, never wrong; memory stays bounded."""
    monkeypatch.setattr(matcher, "MAX_MOVES", 50)
    machine = automaton("secret")
    text = "".join(chr(0x4E00 + number) for number in range(2000)) + " s-e-c-r-e-t"
    assert machine.judge(text).stopped is not None
    assert machine.judge(text[:-1]).stopped is None
    assert len(machine.start) <= 50


def test_no_rules_look_at_nothing() -> None:
    """Without rules every text is its own end."""
    machine = Automaton[Found]([])
    assert machine.is_empty
    assert machine.judge("anything").stopped is None
