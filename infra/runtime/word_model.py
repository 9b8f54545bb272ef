"""The simulated engine's model: words for tokens, and ids that hold their own text.

A token is a word with the blanks before it, cut into at most 6 bytes; its id is these bytes. The numbered words of
`tokens: N` have ids of their own, so each is one token. Ids stay below 2**53, the largest whole number all JSON readers
agree on. No table, no state: any process turns the ids back into the text.
"""

import re
from collections.abc import Sequence
from typing import Final

from schemas.turns import Message

SIMULATED: Final = "simulated"

_WORD = re.compile(r"\s*\S+|\s+\Z")
_NUMBERED = re.compile(r"w0| w[1-9][0-9]{0,14}")
_CHUNK_BYTES: Final = 6
_MARK: Final = b"\x01"  # keeps leading zero bytes of a chunk: ids of chunks are below 2**49
_FIRST_NUMBERED: Final = 1 << 50  # 10**15 numbered words end below 2**51


def numbered(place: int) -> int:
    """The id of the numbered word at this place: `w0` at the beginning, then ` w1`, ` w2`, ..."""
    return _FIRST_NUMBERED + place


def encode_words(text: str) -> list[int]:
    """The tokens of a text. `token_bytes` of them, joined, is the text again."""
    ids: list[int] = []
    for word in _WORD.findall(text):
        if _NUMBERED.fullmatch(word):
            ids.append(numbered(int(word.strip()[1:])))
            continue
        spelled = word.encode()
        for start in range(0, len(spelled), _CHUNK_BYTES):
            ids.append(int.from_bytes(_MARK + spelled[start : start + _CHUNK_BYTES], "big"))
    return ids


def word_bytes(token_id: int) -> bytes:
    """The bytes that a token adds; none for a number that is no id of ours."""
    if token_id >= _FIRST_NUMBERED:
        place = token_id - _FIRST_NUMBERED
        return f" w{place}".encode() if place else b"w0"
    spelled = token_id.to_bytes(_CHUNK_BYTES + 2, "big").lstrip(b"\0") if token_id > 0 else b""
    return spelled[1:] if spelled.startswith(_MARK) else b""


class WordModel:
    """Counts and renders as a real model's files do.

    Args:
        max_model_len: tokens of prompt and answer together.
    """

    def __init__(self, max_model_len: int = 8192) -> None:
        self.name = SIMULATED
        self.version = "1"
        self.max_model_len = max_model_len
        self.eos_ids: frozenset[int] = frozenset()

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """A line a message: who speaks, and the text."""
        lines = [f"{message.role.value}: {message.text}\n" for message in messages]
        return "".join(lines) + ("assistant:" if add_generation_prompt else "")

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        return encode_words(text)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of the prompt, up to where the answer begins."""
        return encode_words(self.render(messages))

    def count_message(self, message: Message) -> int:
        """How many tokens this message adds to a prompt."""
        return len(encode_words(f"\n{message.role.value}: {message.text}"))

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens."""
        return b"".join(map(word_bytes, token_ids)).decode(errors="replace")

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token adds to a text."""
        return word_bytes(token_id)
