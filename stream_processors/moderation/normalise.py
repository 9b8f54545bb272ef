"""A character of a text as the symbols that rules are matched against; the first step of every screen.

Each character is folded alone, whatever stands beside it, so the symbols of a text don't depend on how it was cut.
Folding: compatibility decomposition (NFKD), small letters, no marks, no invisible characters, digits as ASCII.
"""

import unicodedata
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from stream_processors.moderation.confusables import ALIKE, BOXED, WRITTEN_FOR

# Marks that are drawn over, around or into their letter; format characters, controls, surrogates, unassigned ones.
_DROPPED: Final = frozenset({"Mn", "Me", "Cf", "Cc", "Cs", "Cn", "Co"})
# Look like nothing, but Unicode calls them letters or symbols.
_BLANK: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")
_APOSTROPHES: Final = frozenset("'`\u2018\u2019\u02bc\u201b")
# Scripts that write no spaces between words, or glue endings to them: a word may begin and end anywhere.
_UNSPACED: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1100, 0x11FF),  # Hangul, decomposed
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x9FFF),  # kana, CJK ideographs
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


class Kind(Enum):
    """What a symbol is to its neighbours."""

    WORD = "word"  # a letter or digit: a word goes on through it
    UNSPACED = "unspaced"  # a letter of a script without spaces: words may begin and end beside it
    SIGN = "sign"  # punctuation, an emoji: stands between letters
    APOSTROPHE = "apostrophe"  # as a sign, but part of ordinary words
    SPACE = "space"


@dataclass(frozen=True, slots=True)
class Symbol:
    """One folded character.

    Args:
        text: the character itself.
        exact: it and the letters that it looks like. loose: letters that it is written for.
    """

    text: str
    kind: Kind
    exact: tuple[str, ...]
    loose: tuple[str, ...]

    @property
    def is_word(self) -> bool:
        """True when a word goes on through it."""
        return self.kind is Kind.WORD

    @property
    def is_separator(self) -> bool:
        """True when it can stand between the letters of a spread-out word."""
        return self.kind in (Kind.SIGN, Kind.APOSTROPHE, Kind.SPACE)


def folded(text: str) -> str:
    """The text as its symbols' own characters."""
    return "".join(symbol.text for character in text for symbol in symbols(character))


# 16 384: every alphabet in use at once; an unseen character costs some microseconds.
@lru_cache(maxsize=16_384)
def symbols(character: str) -> tuple[Symbol, ...]:
    """The symbols of one character: none for a mark or an invisible one, several for such as a ligature."""
    return tuple(_symbol(each) for each in _fold(character))


def _fold(character: str) -> str:
    plain = BOXED.get(character, character)
    if plain.isspace():
        return "\n" if plain in "\n\r\v\f\x85\u2028\u2029" else " "
    decomposed = unicodedata.normalize("NFKD", plain).casefold()
    kept = [_digit(each) for each in unicodedata.normalize("NFKD", decomposed) if not _is_dropped(each)]
    return "".join(kept)


def _is_dropped(character: str) -> bool:
    if character.isspace():
        return False
    return character in _BLANK or unicodedata.category(character) in _DROPPED


def _digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)


def _symbol(character: str) -> Symbol:
    exact = (character, *ALIKE.get(character, ()))
    return Symbol(character, _kind(character), exact, WRITTEN_FOR.get(character, ()))


def _kind(character: str) -> Kind:
    if character.isspace():
        return Kind.SPACE
    if character in _APOSTROPHES:
        return Kind.APOSTROPHE
    if any(first <= ord(character) <= last for first, last in _UNSPACED):
        return Kind.UNSPACED if unicodedata.category(character)[0] in "LNM" else Kind.SIGN
    return Kind.WORD if unicodedata.category(character)[0] in "LNM" else Kind.SIGN
