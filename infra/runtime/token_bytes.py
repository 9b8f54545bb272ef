"""The bytes that each token id of a model adds to a text, read from its `tokenizer.json`.

Bytes rather than texts: a character may be spread over several tokens, and only bytes can be joined without loss.
"""

import re
from collections.abc import Mapping
from typing import Any

from schemas.errors import SettingsError

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "\u2581"  # SentencePiece writes a space as this character


def _byte_alphabet() -> dict[str, int]:
    """The 256 characters by which byte-level BPE writes bytes (GPT-2's table)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


def _decoder_kinds(decoder: Mapping[str, Any] | None) -> set[str]:
    if decoder is None:
        return set()
    inner = decoder.get("decoders", [])
    return {decoder["type"]}.union(*(_decoder_kinds(one) for one in inner))


def read_token_bytes(tokenizer: Mapping[str, Any]) -> list[bytes]:
    """The bytes of each id, by place; special tokens and gaps between ids add none.

    Args:
        tokenizer: the parsed `tokenizer.json`.

    Raises:
        SettingsError: its decoder is neither byte-level nor SentencePiece's.
    """
    kinds = _decoder_kinds(tokenizer.get("decoder"))
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    if "ByteLevel" in kinds:
        found = _byte_level(vocabulary)
    elif kinds & {"ByteFallback", "Metaspace"}:
        found = _sentence_piece(vocabulary)
    else:
        raise SettingsError(f"the model's tokenizer decodes by {sorted(kinds)}; served are ByteLevel and ByteFallback")
    for token in tokenizer.get("added_tokens", []):
        found[token["id"]] = b"" if token["special"] else token["content"].encode()
    table = [b""] * (max(found) + 1)
    for token_id, added in found.items():
        table[token_id] = added
    return table


def _byte_level(vocabulary: Mapping[str, int]) -> dict[int, bytes]:
    alphabet = _byte_alphabet()
    found: dict[int, bytes] = {}
    for token, token_id in vocabulary.items():
        known = all(character in alphabet for character in token)
        found[token_id] = bytes(alphabet[character] for character in token) if known else token.encode()
    return found


def _sentence_piece(vocabulary: Mapping[str, int]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for token, token_id in vocabulary.items():
        byte = _BYTE_TOKEN.fullmatch(token)
        found[token_id] = bytes([int(byte[1], 16)]) if byte else token.replace(_SPACE, " ").encode()
    return found
