"""Bytes of unmasked WebSocket text frames: what a server writes, made once for all readers of a record.

Source: RFC 6455 section 5.2.
"""

from typing import Final

_FIN_TEXT: Final = 0x81
_TWO_BYTES: Final = 126
_EIGHT_BYTES: Final = 127


def text_frame(payload: bytes) -> bytes:
    """One whole text message as a single frame; `payload` is UTF-8."""
    size = len(payload)
    if size < _TWO_BYTES:
        return bytes((_FIN_TEXT, size)) + payload
    if size <= 0xFFFF:  # noqa: PLR2004 - the largest number of two bytes
        return bytes((_FIN_TEXT, _TWO_BYTES)) + size.to_bytes(2, "big") + payload
    return bytes((_FIN_TEXT, _EIGHT_BYTES)) + size.to_bytes(8, "big") + payload
