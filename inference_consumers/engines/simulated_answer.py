"""What the simulated engine answers: a function of the last user message alone.

Pure. `echo: W` answers W, `tokens: N` answers N numbered words; all else gets some sentences drawn from the message.
"""

import re
from collections.abc import Sequence
from hashlib import sha256

from infra.runtime.word_model import encode_words, numbered
from schemas.turns import Message, Role

_TOKENS = re.compile(r"tokens:\s*([0-9]{1,9})\s*")
_TEXT = (
    "the log holds every word and each reader keeps its own place so a turn that was begun will always end while many "
    "small steps make one long answer and nothing is lost between them because order is all that we need to promise"
)
_WORDS = tuple(_TEXT.split())


def answer_ids(messages: Sequence[Message]) -> Sequence[int]:
    """The token ids of the answer; indexed, not built, where they are many."""
    asked = last_asked(messages)
    counted = _TOKENS.fullmatch(asked.strip())
    if counted:
        return range(numbered(0), numbered(int(counted[1])))
    if asked.startswith("echo:"):
        return encode_words(asked.removeprefix("echo:").removeprefix(" "))
    return encode_words(_sentences(asked))


def last_asked(messages: Sequence[Message]) -> str:
    """The last user message; empty when there is none."""
    return next((message.text for message in reversed(messages) if message.role == Role.USER), "")


def _sentences(asked: str) -> str:
    """Three sentences; the same message always draws the same."""
    drawn = sha256(asked.encode()).digest()
    sentences = [f"You sent {len(asked.split())} words."]
    for place in range(2):
        chosen = [_WORDS[byte % len(_WORDS)] for byte in drawn[place * 16 : place * 16 + 8 + drawn[place] % 8]]
        sentences.append(" ".join(chosen).capitalize() + ".")
    return " ".join(sentences)
