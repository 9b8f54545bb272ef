"""Bytes of `text/event-stream`. Source: WHATWG HTML, section 9.2."""

from typing import Any, Final

from schemas import codec

WAIT: Final = b": wait\n\n"
DONE: Final = b"data: [DONE]\n\n"


def event(value: dict[str, Any]) -> bytes:
    """An event of the Responses dialect: its type is its name, too."""
    return b"event: " + str(value["type"]).encode() + b"\ndata: " + codec.encode(value) + b"\n\n"


def data(value: dict[str, Any]) -> bytes:
    """An unnamed event: a chunk, or an error in a stream that has begun."""
    return b"data: " + codec.encode(value) + b"\n\n"
