"""Policies and disguises that the tests of this room share."""

# ruff: noqa: RUF001 - disguised letters are the point
from collections.abc import Callable, Mapping
from typing import Any

from stream_processors.moderation.policy import Policy, PolicySet, Rule, RuleAction, RuleKind

SENTENCE = "I can't talk about that."


def rules(*texts: str, **options: Any) -> PolicySet:
    """A set with one policy of one rule."""
    return PolicySet([Policy("house", 3, SENTENCE, [Rule(rule="forbidden", texts=texts, **options)])])


MIXED = PolicySet(
    [
        Policy(
            "house",
            1,
            SENTENCE,
            [
                Rule(rule="words", texts=("bomb", "pipe dream", "secret", "бомба", "炸弹", "ab", "4711")),
                Rule(rule="inside", texts=("xyz", "c++"), whole_word=False),
                Rule(rule="card", kind=RuleKind.PATTERN, texts=(r"\d(?:[ -]?\d){5,7}",), whole_word=True),
                Rule(rule="code", kind=RuleKind.PATTERN, texts=(r"(?:ab|ba){2,3}[^a-c]?!",)),
                Rule(rule="told", texts=("pipe",), action=RuleAction.FLAG),
            ],
        )
    ]
)
"""Rules that overlap each other in every way; over a small alphabet nearly every text is a near miss."""

ALPHABET = "abcbomxyzpiedrt +-.!471 \u200b\u0301ß０ⓑ炸弹бо0@'"

LOOKALIKES = str.maketrans("abeopcyxs", "аЬеорсухѕ")
LEET = str.maketrans("oieats", "013475")
BOLD = {ord("a") + place: 0x1D41A + place for place in range(26)}
WIDE = {ord("a") + place: 0xFF41 + place for place in range(26)}
CIRCLED = {ord("a") + place: 0x24D0 + place for place in range(26)}
BOXED = {ord("a") + place: 0x1F170 + place for place in range(26)}
SMALL_CAPITALS = str.maketrans("abcdeghijklmnoprstuvwyz", "ᴀʙᴄᴅᴇɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ")

DISGUISES: Mapping[str, Callable[[str], str]] = {
    "none": lambda word: word,
    "capitals": str.upper,
    "every other capital": lambda word: "".join(c.upper() if i % 2 else c for i, c in enumerate(word)),
    "lookalikes of other alphabets": lambda word: word.translate(LOOKALIKES),
    "digits for letters": lambda word: word[0] + word[1:].translate(LEET),
    "bold": lambda word: word.translate(BOLD),
    "full width": lambda word: word.translate(WIDE),
    "circled": lambda word: word.translate(CIRCLED),
    "boxed": lambda word: word.translate(BOXED),
    "small capitals": lambda word: word.translate(SMALL_CAPITALS),
    "marks": lambda word: "".join(c + "\u0301" for c in word),
    "stacked marks": lambda word: "".join(c + "\u0336\u0489\u0301" * 5 for c in word),
    "zero width spaces": "\u200b".join,
    "soft hyphens and joiners": "\u00ad\u200d\ufeff".join,
    "dots": ".".join,
    "dashes": "--".join,
    "one dash": lambda word: word[:2] + "-" + word[2:],
    "spaces": " ".join,
    "wide spaces": "\u2003\u00a0".join,
    "lines": "\n".join,
    "stars and spaces": " * ".join,
    "emojis": "🔥".join,
    "all at once": lambda word: " . ".join(c.upper() + "\u0301\u200b" for c in word.translate(LOOKALIKES)),
}
"""Each hides a word from a plain comparison and from no reader."""
