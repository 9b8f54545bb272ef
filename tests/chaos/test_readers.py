"""The reader counts what it must never be shown: one that overlooks it proves nothing."""

import random
from typing import Any

import pytest

from tests.chaos.readers import Counts, Reader

TURN = "resp_" + "1" * 32 + "2" * 32
CONVERSATION = "conv_" + "1" * 32


def _event(kind: str, seq: int, **more: Any) -> dict[str, Any]:
    event = {"type": kind, "turn": TURN, "attempt": 1, "seq": seq, **more}
    return {"type": "event", "conversation": CONVERSATION, "position": f"p{seq}", "event": event}


def _delta(seq: int, text: str, **more: Any) -> dict[str, Any]:
    return _event("turn.delta", seq, text=text, **more)


def _subscribed(*, messages: tuple[Any, ...] = (), open_turns: tuple[Any, ...] = ()) -> dict[str, Any]:
    history = {"messages": list(messages), "open_turns": list(open_turns)}
    return {"type": "subscribed", "recovered": False, "position": "p", "history": history}


def _message(text: str) -> dict[str, Any]:
    return {"role": "assistant", "turn": TURN, "text": text, "reason": "stop"}


ENDED = _event("turn.ended", 2, reason="stop")
WHOLE = (_delta(0, "w0"), _delta(1, " w1"), ENDED)


def _read(*frames: dict[str, Any]) -> tuple[Reader, Counts]:
    """A reader that was given these frames, without a socket."""
    counts = Counts()
    reader = Reader("", "", CONVERSATION, counts, random.Random(0))
    for frame in (_subscribed(), *frames):
        reader._take(frame)
    return reader, counts


def _faults(counts: Counts) -> tuple[int, int, int]:
    return counts.gaps, counts.repeats, len(counts.contradictions)


@pytest.mark.parametrize(
    "frames",
    [
        WHOLE,
        (_delta(0, "w0 w1", last_seq=1), ENDED),
        (_delta(0, "w0"), _subscribed(open_turns=({"turn": TURN, "answer": "w0 w1", "seq": 2},)), ENDED),
        (_delta(0, "w0"), _subscribed(messages=(_message("w0 w1"),))),
    ],
    ids=["one by one", "merged", "a history that goes on", "a history that ends it"],
)
def test_a_sound_course_counts_nothing(frames: tuple[dict[str, Any], ...]) -> None:
    """Deltas one by one or merged, and a history that goes on behind what was shown, are no fault."""
    reader, counts = _read(*frames)
    shown = reader.of(TURN)
    assert _faults(counts) == (0, 0, 0)
    assert (shown.text, shown.reason, shown.ended.is_set()) == ("w0 w1", "stop", True)


@pytest.mark.parametrize(
    ("frames", "faults"),
    [
        ((_delta(0, "w0"), _delta(2, " w2")), (1, 0, 0)),
        ((_delta(0, "w0"), ENDED), (1, 0, 0)),
        ((_delta(0, "w0 w1", last_seq=1), _delta(3, " w3")), (1, 0, 0)),
        ((_delta(0, "w0"), _delta(0, "w0")), (0, 1, 0)),
        ((_delta(0, "w0 w1", last_seq=1), _delta(1, " w1")), (0, 1, 0)),
        ((*WHOLE, ENDED), (0, 1, 0)),
        ((*WHOLE, _delta(3, " w3")), (0, 1, 0)),
        ((_delta(0, "w0"), _subscribed(messages=(_message("x0"),))), (0, 0, 1)),
        ((*WHOLE, _subscribed(messages=(_message("w0 w1 w2"),))), (0, 0, 1)),
        ((_delta(0, "w0"), _subscribed(open_turns=({"turn": TURN, "answer": "", "seq": 0},))), (0, 0, 1)),
        ((*WHOLE, _subscribed(open_turns=({"turn": TURN, "answer": "w0 w1", "seq": 2},))), (0, 0, 1)),
    ],
    ids=[
        "a delta is missing",
        "the last delta is missing",
        "a delta is missing behind merged ones",
        "a delta again",
        "a part of merged deltas again",
        "a second end",
        "a delta behind the end",
        "a history with another text",
        "a history that goes on behind the end",
        "a history that takes text back",
        "a history in which an ended turn is open",
    ],
)
def test_each_fault_is_counted(frames: tuple[dict[str, Any], ...], faults: tuple[int, int, int]) -> None:
    """A gap, a repeat or a contradiction is counted once, and as nothing else."""
    assert _faults(_read(*frames)[1]) == faults
