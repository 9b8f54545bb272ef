"""A literal rule's text as the ways it may be spelled: run together with signs between, or letter by letter.

A way is a sequence of units: a folded character, or a gap between words or letters. Which symbols a gap takes is the
matcher's business.
"""

from dataclasses import dataclass
from typing import Final

from stream_processors.moderation.normalise import Kind, Symbol, symbols

GAP: Final = " "
"""The unit for one to `MAX_GAP` separators."""
MAX_GAP: Final = 8
"""Separators between two letters: what spreads a word further is not the same word, and less is held back."""
MAX_UNITS: Final = 256
# "a s" is no evasion of "as": a spread word is told from words side by side by three letters in a row.
_FEWEST_SPREAD_LETTERS: Final = 3


class LiteralError(ValueError):
    """The text can't be a literal rule."""


@dataclass(frozen=True, slots=True)
class Literal:
    """One way to spell a text.

    Args:
        units: folded characters and gaps.
        is_loose: signs may stand between any two units.
        begins_word, ends_word: no letter or digit may stand before, behind.
    """

    units: tuple[str, ...]
    is_loose: bool
    begins_word: bool
    ends_word: bool


def spell(text: str, *, whole_word: bool) -> tuple[Literal, ...]:
    """The ways to spell the text. Raises LiteralError for one with nothing to match, or too long."""
    words = _words(text)
    letters = [symbol for word in words for symbol in word]
    if not letters:
        raise LiteralError("there is no letter, digit or sign in it")
    if len(letters) + len(words) > MAX_UNITS:
        raise LiteralError(f"longer than {MAX_UNITS} characters")
    begins = whole_word and letters[0].is_word
    ends = whole_word and letters[-1].is_word
    together = _joined([[symbol.text for symbol in word] for word in words])
    ways = [Literal(together, is_loose=True, begins_word=begins, ends_word=ends)]
    if _is_spreadable(letters):
        apart = _joined([[symbol.text] for symbol in letters])
        ways.append(Literal(apart, is_loose=False, begins_word=begins, ends_word=ends))
    return tuple(ways)


def _words(text: str) -> list[list[Symbol]]:
    words: list[list[Symbol]] = [[]]
    for symbol in (symbol for character in text for symbol in symbols(character)):
        if symbol.kind is Kind.SPACE:
            words.append([])
        else:
            words[-1].append(symbol)
    return [word for word in words if word]


def _joined(words: list[list[str]]) -> tuple[str, ...]:
    units: list[str] = []
    for word in words:
        if units:
            units.append(GAP)
        units += word
    return tuple(units)


def _is_spreadable(letters: list[Symbol]) -> bool:
    """Letters alone: what has signs of its own would need them beside the gaps."""
    unspaced = all(symbol.kind is Kind.UNSPACED for symbol in letters)
    fewest = 2 if unspaced else _FEWEST_SPREAD_LETTERS
    return len(letters) >= fewest and not any(symbol.is_separator for symbol in letters)
