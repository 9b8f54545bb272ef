import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.turns import Stage
from stream_processors.moderation.dialect import MAX_POSITIONS, PatternError, parse
from stream_processors.moderation.policy import RuleKind
from stream_processors.moderation.screen import judge
from tests.stream_processors.moderation.texts import rules


def finds(pattern: str, text: str, *, whole_word: bool = False) -> bool:
    policies = rules(pattern, kind=RuleKind.PATTERN, whole_word=whole_word)
    return judge(policies, Stage.INPUT, None, text).verdict is not None


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        ("abc", "xABCx", "ab c"),
        ("a.c", "a-c", "ac"),
        ("[a-cx]z", "bz xz", "dz"),
        ("[^a-c]z", "dz", "az"),
        (r"\d{3}-\d{4}", "call 555-1234 now", "55-1234"),
        (r"\w\s\W", "a !", "a b"),
        (r"\D\S", "a b c xy", "12"),
        ("(cat|dog)s?", "dog", "do g"),
        ("(?:ab){2,3}c", "ababc", "abc"),
        ("colou?r", "color colour", "colouur"),
        (r"a\.b\\c", "a.b\\c", "axb\\c"),
        (r"[\]\-x]{2}", "-]", "- ]"),
        ("[\\d,]{3}", "1,2", "1.2"),
        (r"x\n\ty", "x\r y"[0:1] + "\n\ty", "x y"),
        ("straße", "STRASSE", "strase"),
        ("пароль", "ПАРОЛЬ", "пароли"),
    ],
)
def test_patterns_mean_what_they_say(pattern: str, fitting: str, other: str) -> None:
    """A pattern finds what fits it and nothing else."""
    assert finds(pattern, fitting)
    assert not finds(pattern, other)


def test_whole_words_bound_a_pattern() -> None:
    """With whole_word a match neither begins nor ends inside a word or number; signs end it at once."""
    card = r"\d{4}(?:[ -]?\d{4}){3}"
    assert finds(card, "pay 4111-1111 1111-1111, please", whole_word=True)
    assert not finds(card, "41111111111111112", whole_word=True)
    assert finds(card, "41111111111111112", whole_word=False)
    assert finds(r"c\+\+", "I know c++, a bit", whole_word=True)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a*", "no longest length"),
        ("a+", "no longest length"),
        ("a{2,}", "a count is"),
        ("a{3,2}", "low to high"),
        ("a??", "lazy"),
        ("(a", "never closed"),
        ("a)", "unmatched"),
        ("[a", "never closed"),
        ("[]", "empty set"),
        ("", "empty text"),
        ("a?", "empty text"),
        ("^a", "whole_word"),
        ("a$", "whole_word"),
        (r"\bword\b", "not in the dialect"),
        (r"(a)\1", "not in the dialect"),
        ("(?=a)b", "open a group"),
        ("[ß]", "read as 2"),
        ("\u200b", "dropped"),
        ("a{300}b{300}", "longer than"),
        ("(?:a{20}){21}", "longer than"),
        ("a\\", "ends too early"),
        ("?", "nothing to repeat"),
        ("[z-a]", "no range"),
    ],
)
def test_what_is_not_in_the_dialect_is_refused(pattern: str, why: str) -> None:
    """A pattern that can't be matched within bounds is refused, with the reason and the place."""
    with pytest.raises(PatternError, match=re.escape(why)):
        parse(pattern, whole_word=False)


def test_repeats_are_bounded() -> None:
    """Repeats written out give at most a fixed number of places."""
    assert len(parse("(?:ab?c){5,10}", whole_word=False).places) == 30
    assert len(parse("a{400}", whole_word=False).places) == MAX_POSITIONS


PIECES = st.recursive(
    st.sampled_from(["a", "b", "c", "[ab]", "[^a]", "."]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        inner.map(lambda one: f"(?:{one})?"),
        inner.map(lambda one: f"(?:{one}){{1,3}}"),
    ),
    max_leaves=6,
)


@given(PIECES, st.text("abcd", max_size=12))
def test_agrees_with_the_standard_library(pattern: str, text: str) -> None:
    """Where Python's own expressions mean the same, the same texts match."""
    if re.fullmatch(pattern, ""):
        with pytest.raises(PatternError):
            parse(pattern, whole_word=False)
        return
    try:
        parse(pattern, whole_word=False)
    except PatternError as error:
        assert "longer than" in str(error)  # noqa: PT017 - the one refusal that size alone may cause
        return
    assert finds(pattern, text) == (re.search(pattern, text) is not None)
