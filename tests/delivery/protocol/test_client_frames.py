"""Whatever a client sends is a frame, a fault that can be told, or no frame at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.protocol import client_frames
from delivery.protocol.client_frames import BadFrame, Misfit
from schemas.frames import CLIENT_FRAMES, Ping, Send, Subscribe

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.binary())
def test_any_bytes_are_survived(raw: bytes) -> None:
    """Bytes that are no frame raise BadFrame and nothing else."""
    with pytest.raises(BadFrame):
        client_frames.read(raw)


@given(st.sampled_from(sorted(CLIENT_FRAMES)), st.dictionaries(st.sampled_from(["ref", "after", "text", "turn"]), JSON))
def test_any_fields_are_survived(kind: str, fields: dict[str, object]) -> None:
    """A frame of a known type with any fields is that frame or a fault that names its ref."""
    frame = client_frames.read(json.dumps(fields | {"type": kind}).encode())
    assert isinstance(frame, (Misfit, CLIENT_FRAMES[kind]))


def test_fields_have_their_defaults() -> None:
    """What a client leaves out is as the contract says; unknown fields are ignored."""
    assert client_frames.read(b'{"type":"ping","colour":"red"}') == Ping()
    assert client_frames.read(b'{"type":"send","text":"hi"}') == Send(text="hi")
    frame = client_frames.read(b'{"type":"subscribe","conversation":"c","after":null,"ref":7}')
    assert frame == Subscribe(conversation="c", ref=7)


def test_a_misfit_keeps_its_ref() -> None:
    """A sender finds its fault by its own mark; a mark that is none is left out."""
    assert client_frames.read(b'{"type":"subscribe","ref":"r"}') == Misfit(
        "r", "Object missing required field `conversation` at $"
    )
    unknown = client_frames.read(b'{"type":"nope","ref":true}')
    assert isinstance(unknown, Misfit)
    assert unknown.ref is None
