"""Frames are typed values, by name, on both sides of the socket."""

import json

import pytest

from schemas import codec
from schemas.errors import ContractError
from schemas.frames import CLIENT_FRAMES, SERVER_FRAMES, Subscribe
from tests.support.samples import sample


@pytest.mark.parametrize("kind", [*CLIENT_FRAMES.values(), *SERVER_FRAMES.values()], ids=lambda kind: kind.__name__)
def test_frames_round_trip(kind: type) -> None:
    """A frame read back from its bytes is equal and says its type."""
    raw = codec.encode(sample(kind))
    assert codec.convert(codec.parse(raw), kind) == sample(kind)
    assert json.loads(raw)["type"] in {**CLIENT_FRAMES, **SERVER_FRAMES}


def test_a_fault_in_a_frame_is_named() -> None:
    """A frame with a field of the wrong type is refused with its place."""
    with pytest.raises(ContractError) as caught:
        codec.convert({"type": "subscribe", "conversation": 7}, Subscribe)
    assert caught.value.place == "$.conversation"
