# ruff: noqa: RUF001 - characters that look like others are the point
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_processors.moderation.confusables import ALIKE, BOXED, WRITTEN_FOR
from stream_processors.moderation.normalise import Kind, folded, symbols


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Straße ÅNGSTRÖM", "strasse angstrom"),
        ("ﬁne ㎏ ½", "fine kg 1⁄2"),
        ("ｆｕｌｌ ⓒⓘⓡⓒⓛⓔ 𝕕𝕠𝕦𝕓𝕝𝕖 🇫🇱🇦🇬 🅱", "full circle double flag b"),
        ("e\u0301\u0336 a\u200bb\u00adc\u2060d\ufeff", "e abcd"),
        ("٤٢ ４２ 四", "42 42 四"),
        ("a\u00a0b\u3000c\td\r\ne", "a b c d\n\ne"),
        ("\U000e0041hidden\u202e", "hidden"),
    ],
)
def test_folds_what_looks_the_same(text: str, read: str) -> None:
    """Forms, marks, cases, digits and blanks of the same look become the same characters."""
    assert folded(text) == read


@given(st.text(), st.text())
def test_folds_characters_alone(left: str, right: str) -> None:
    """A text's symbols are its parts' symbols: where it is cut makes no difference."""
    assert folded(left + right) == folded(left) + folded(right)


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    """What is folded stays as it is, so a rule and a text meet in the same form."""
    assert folded(folded(text)) == folded(text)


def test_no_mark_is_left() -> None:
    """No character of Unicode leaves a mark or an invisible character behind."""
    for code in range(sys.maxunicode + 1):
        for symbol in symbols(chr(code)):
            assert unicodedata.category(symbol.text) not in {"Mn", "Me", "Cf"}, hex(code)


@pytest.mark.parametrize(
    ("character", "kind"),
    [
        ("a", Kind.WORD),
        ("Ж", Kind.WORD),
        ("7", Kind.WORD),
        ("語", Kind.UNSPACED),
        ("か", Kind.UNSPACED),
        ("ก", Kind.UNSPACED),
        ("-", Kind.SIGN),
        ("_", Kind.SIGN),
        ("🔥", Kind.SIGN),
        ("'", Kind.APOSTROPHE),
        ("’", Kind.APOSTROPHE),
        (" ", Kind.SPACE),
        ("\n", Kind.SPACE),
    ],
)
def test_tells_words_from_what_stands_between(character: str, kind: Kind) -> None:
    """Letters and digits make words; signs, apostrophes and blanks are told apart."""
    [symbol] = symbols(character)
    assert symbol.kind is kind


def test_lookalikes_go_both_ways() -> None:
    """A letter that looks like another is read as it, and the other as the first; both keep their own reading."""
    assert "o" in symbols("о")[0].exact
    assert "о" in symbols("o")[0].exact
    assert all(character in ALIKE[other] for character, others in ALIKE.items() for other in others)
    assert symbols("0")[0].loose == ("o",)
    assert symbols("0")[0].exact[0] == "0"


def test_tables_hold_folded_characters() -> None:
    """The tables are written in the form that texts are folded into: no row is dead."""
    for table in (ALIKE, WRITTEN_FOR):
        for character, readings in table.items():
            assert all(folded(each) == each for each in (character, *readings)), character
    assert set(BOXED.values()) == set("abcdefghijklmnopqrstuvwxyz")
