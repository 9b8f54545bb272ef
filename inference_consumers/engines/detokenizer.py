"""Token ids to text, one token at a time, never splitting a character.

Pure. A tokenizer is met only as a function from an id to the bytes that it adds; a token whose bytes end inside a
character is held until the character is whole, so text and ids are always cut at the same place.
"""

from codecs import getincrementaldecoder
from collections.abc import Callable
from dataclasses import dataclass

# WHATWG's rule for broken bytes, which tokenizers' own `decode` follows as well: so the two agree on any ids.
_Utf8 = getincrementaldecoder("utf-8")


@dataclass(frozen=True, slots=True)
class Unit:
    """The shortest run of tokens that adds whole characters.

    Args:
        text: what they add; empty for tokens without text.
    """

    text: str
    token_ids: tuple[int, ...]


class Detokenizer:
    """The decoder of one answer.

    Args:
        token_bytes: the bytes that an id adds to a text; empty for special tokens.
    """

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = _Utf8(errors="replace")
        self._held: list[int] = []
        self._text = ""

    @property
    def held_ids(self) -> tuple[int, ...]:
        """Tokens that wait for the rest of their last character."""
        return tuple(self._held)

    @property
    def held_text(self) -> str:
        """The whole characters among what is held, shown only if the answer ends here."""
        return self._text

    def push(self, token_id: int) -> Unit | None:
        """Take the next token in.

        Returns:
            What can be shown since the last unit, or None while the last character isn't whole.
        """
        self._held.append(token_id)
        self._text += self._decoder.decode(self._token_bytes(token_id))
        if self._decoder.getstate()[0]:
            return None
        unit = Unit(self._text, tuple(self._held))
        self._held, self._text = [], ""
        return unit


def decode(token_ids: tuple[int, ...], token_bytes: Callable[[int], bytes]) -> str:
    """The text of an answer's ids; a last character that isn't whole is left out, as the detokenizer does."""
    decoder = _Utf8(errors="replace")
    return decoder.decode(b"".join(map(token_bytes, token_ids)))
