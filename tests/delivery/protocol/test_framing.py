"""Frames made by hand are those that `websockets` makes."""

import pytest
from websockets.frames import Frame, Opcode

from delivery.protocol.framing import text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 200_000])
def test_frames_are_those_of_the_library(size: int) -> None:
    """Around every boundary of the length field the bytes are the same."""
    payload = b"x" * size
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)
