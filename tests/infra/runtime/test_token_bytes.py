import pytest

from infra.runtime.token_bytes import read_token_bytes
from schemas.errors import SettingsError


def test_byte_level_tokens_are_read_by_gpt2s_table() -> None:
    """A leading space, a newline and half a character come out as their bytes; special tokens add none."""
    tokenizer = {
        "model": {"vocab": {"<s>": 0, "\u0120a": 1, "\u010a": 2, "\u00e6": 3}},
        "decoder": {"type": "ByteLevel"},
        "added_tokens": [{"id": 0, "content": "<s>", "special": True}, {"id": 5, "content": "<t>", "special": False}],
    }
    assert read_token_bytes(tokenizer) == [b"", b" a", b"\n", b"\xe6", b"", b"<t>"]


def test_sentence_piece_tokens_are_read_by_its_marks() -> None:
    """Its space mark is a space, and its byte tokens are bytes."""
    tokenizer = {
        "model": {"vocab": {"\u2581hi": 0, "<0xE6>": 1}},
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace"}, {"type": "ByteFallback"}]},
    }
    assert read_token_bytes(tokenizer) == [b" hi", b"\xe6"]


def test_other_decoders_are_refused() -> None:
    """A tokenizer whose tokens have no bytes of their own isn't served."""
    with pytest.raises(SettingsError, match="WordPiece"):
        read_token_bytes({"model": {"vocab": {"a": 0}}, "decoder": {"type": "WordPiece"}})
