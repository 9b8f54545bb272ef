from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.relay.progress import Gapped, Piece, Progress
from schemas.records import Record, TurnDelta
from tests.producers.support import records
from tests.producers.support.asked import TURN, requested

ASKED = requested()
TEXTS = ["Hello", ", ", "Welt", " 🌍", "", "!"]
LOG: list[Record] = [
    records.accepted(ASKED),
    records.queued(ASKED),
    records.started(ASKED),
    *(records.delta(ASKED, seq, text) for seq, text in enumerate(TEXTS)),
    records.ended(ASKED, len(TEXTS)),
]


def _logged(log: list[Record]) -> Progress:
    progress = Progress(TURN)
    for record in log:
        progress.take_logged(record)
    return progress


def test_the_log_is_folded_by_the_rule() -> None:
    """A takeover goes on where the first worker stopped; what the zombie adds is dropped."""
    log = [
        records.accepted(ASKED),
        records.started(ASKED, 1),
        records.delta(ASKED, 0, "one", 1),
        records.started(ASKED, 2),
        records.delta(ASKED, 1, "zombie", 1),
        records.delta(ASKED, 1, " two", 2),
        records.ended(ASKED, 2, attempt=1),
        records.ended(ASKED, 2, attempt=2),
        records.delta(ASKED, 2, "late", 2),
    ]
    progress = _logged(log)
    assert progress.text == "one two"
    assert progress.ended is not None
    assert progress.ended.attempt == 2


def test_channels_that_nobody_knows_are_counted_and_not_shown() -> None:
    """A delta of another channel has its seq and its tokens, and no text."""
    log = [*LOG[:3], records.delta(ASKED, 0, "thought", channel="reasoning"), records.delta(ASKED, 1, "said")]
    progress = _logged(log)
    assert (progress.text, progress.next_seq, progress.tokens) == ("said", 2, 2)


def _merged(deltas: list[TurnDelta]) -> tuple[TurnDelta, int]:
    text, tokens = "".join(each.text for each in deltas), sum(each.tokens for each in deltas)
    return replace(deltas[0], text=text, tokens=tokens), deltas[-1].seq


@given(st.data())
def test_any_cut_merge_and_repeat_gives_the_same_turn(data: Any) -> None:
    """However deltas are merged, and wherever a reconnect repeats from the beginning, nothing is lost or doubled."""
    progress = Progress(TURN)
    for _ in range(data.draw(st.integers(1, 3))):
        stop = data.draw(st.integers(0, len(LOG)))
        _deliver(progress, LOG[:stop], data)
    _deliver(progress, LOG, data, merges=False)
    assert progress.text == "".join(TEXTS)
    assert progress.tokens == len(TEXTS)
    assert progress.ended is not None
    assert [piece.seq for piece in progress.pieces] == [0, *(piece.last_seq + 1 for piece in progress.pieces[:-1])]


def _deliver(progress: Progress, log: list[Record], data: Any, *, merges: bool = True) -> None:
    held: list[TurnDelta] = []
    for record in log:
        if isinstance(record, TurnDelta) and merges and data.draw(st.booleans()):
            held.append(record)
            continue
        _flush(progress, held)
        _take(progress, record)
    _flush(progress, held)


def _flush(progress: Progress, held: list[TurnDelta]) -> None:
    runs: list[list[TurnDelta]] = []
    for each in held:
        if runs and each.seq == runs[-1][-1].seq + 1:
            runs[-1].append(each)
        else:
            runs.append([each])
    for run in runs:
        record, last_seq = _merged(run)
        _take(progress, record, last_seq)
    held.clear()


def _take(progress: Progress, record: Record, last_seq: int | None = None) -> None:
    try:
        progress.take_delivered(record, last_seq)
    except Gapped:
        # What a client does then: read the turn again from its beginning, unmerged.
        for each in LOG:
            progress.take_delivered(each)


def test_a_gap_is_never_passed_over() -> None:
    """A delta or an end behind what is missing is refused, so that the turn is read again."""
    progress = Progress(TURN)
    for record in LOG[:4]:
        progress.take_delivered(record)
    with pytest.raises(Gapped):
        progress.take_delivered(LOG[5])
    with pytest.raises(Gapped):
        progress.take_delivered(LOG[-1])
    assert progress.pieces == [Piece(0, 0, "Hello", 1)]


def test_another_turns_records_are_left_alone() -> None:
    """Records of other turns change nothing."""
    other = records.delta(replace(ASKED, turn=f"resp_{'0' * 64}"), 0, "x")  # type: ignore[arg-type]
    progress = Progress(TURN)
    assert not progress.take_logged(other)
    assert not progress.take_delivered(other)
