# ruff: noqa: RUF001 - this file is about characters that look like others
"""Which characters can be read as which letters: lookalikes of other alphabets, digits and signs written for letters.

A character keeps its own reading beside the others, so no two letters are merged and rules of any alphabet stay exact.
Characters stand here as `normalise` leaves them: decomposed, without marks, in small letters.
"""

from collections.abc import Mapping
from typing import Final

# Letters that look alike, each with those of other alphabets: a short list after Unicode's confusables (UTS 39, 4).
_ALIKE: Final[Mapping[str, str]] = {
    "a": "аɑαᴀⱥ",
    "b": "вьъƅβбʙƀɓ",
    "c": "сᴄƈȼ¢",
    "d": "ԁɗᴅđƌ",
    "e": "еєɛεᴇәəɇ",
    "f": "ƒꜰϝ",
    "g": "ɡցɢǥɠ",
    "h": "һнհʜħηɦ",
    "i": "іιıɪɩӏ",
    "j": "јʝᴊϳɉ",
    "k": "кκᴋƙ",
    "l": "ӏłʟıιɭ",
    "m": "мᴍɱ",
    "n": "пոηɴŋɲ",
    "o": "оοσօᴏøө",
    "p": "рρᴘþƥ",
    "q": "ԛգ",
    "r": "гɼʀяɍ",
    "s": "ѕʂꜱ",
    "t": "тτᴛŧƭ",
    "u": "цυսᴜʋ",
    "v": "νѵᴠ",
    "w": "ԝшωᴡɯщ",
    "x": "хχж",
    "y": "уүʏγ",
    "z": "ᴢȥƶʐ",
}

# Digits and signs that are written for letters. They count only beside a real letter: "455" is a number, "a55" is not.
_WRITTEN_FOR: Final[Mapping[str, str]] = {
    "0": "o",
    "1": "il",
    "2": "z",
    "3": "e",
    "4": "a",
    "5": "s",
    "6": "gb",
    "7": "t",
    "8": "b",
    "9": "g",
    "@": "a",
    "$": "s",
    "!": "i",
    "|": "il",
    "+": "t",
    "(": "c",
    "<": "c",
    "€": "e",
    "£": "l",
    "§": "s",
}

# Letters in boxes, circles and flags have no decomposition in Unicode.
_BOXED: Final = (0x1F150, 0x1F170, 0x1F1E6)


def _alike() -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for letter, others in _ALIKE.items():
        for other in others:
            found.setdefault(letter, set()).add(other)
            found.setdefault(other, set()).add(letter)
    return {character: tuple(sorted(readings)) for character, readings in found.items()}


ALIKE: Final[Mapping[str, tuple[str, ...]]] = _alike()
"""For a character the letters that it looks like. Both ways: a Latin letter may stand in a Cyrillic word as well."""

WRITTEN_FOR: Final[Mapping[str, tuple[str, ...]]] = {sign: tuple(letters) for sign, letters in _WRITTEN_FOR.items()}
"""For a digit or sign the letters that it is written for."""

BOXED: Final[Mapping[str, str]] = {chr(first + place): chr(ord("a") + place) for first in _BOXED for place in range(26)}
"""The plain letter of a boxed, circled or flag letter."""
