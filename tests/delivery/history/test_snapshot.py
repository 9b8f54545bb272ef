"""Histories: the same from rows, from the log, and from any mix of both."""

from dataclasses import replace
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.history import place
from delivery.history.snapshot import MAX_BYTES, MAX_MESSAGES, Snapshot, SnapshotFold
from delivery.protocol.events import Logged
from schemas.fold import ConversationFold
from schemas.records import TurnCompleted
from schemas.turns import Reason
from tests.delivery.history.talks import LOG, Written, conversations
from tests.delivery.protocol.readings import entries, logged
from tests.support import samples
from tests.support.logs import TURNS, accepted, ended


def snapshot(written: Written, rows: list[TurnCompleted], end: int) -> Snapshot:
    """The snapshot up to `end` with these rows, newest first, folded from where they say."""
    anchor = place.anchor(rows)
    start = place.start_of(anchor, LOG) or 0
    fold = SnapshotFold(rows, anchor)
    for entry in entries(written.records)[start:end]:
        fold.take(logged(entry))
    return fold.snapshot()


@given(conversations(), st.data())
def test_rows_and_log_tell_the_same(written: Written, data: st.DataObject) -> None:
    """However many rows are stored, messages, open turns and the rule's state are those of the whole log."""
    end = data.draw(st.integers(0, len(written.records)), label="end")
    stored = [number for number, offset in sorted(written.ends.items(), key=itemgetter(1)) if offset < end]
    kept = data.draw(st.integers(0, len(stored)), label="rows stored")
    rows = [written.rows[number] for number in sorted(stored[:kept], reverse=True)]
    whole, mixed = snapshot(written, [], end), snapshot(written, rows, end)
    assert [(each.turn, each.role, each.text) for each in mixed.history.messages] == [
        (each.turn, each.role, each.text) for each in whole.history.messages
    ]
    assert mixed.history.open_turns == whole.history.open_turns
    assert mixed.fold.open_turns == whole.fold.open_turns
    assert mixed.before is None


@given(conversations(), st.data())
def test_live_goes_on_behind_any_snapshot(written: Written, data: st.DataObject) -> None:
    """Behind a snapshot the rule takes exactly what it takes of the whole log."""
    end = data.draw(st.integers(0, len(written.records)), label="end")
    rows = [written.rows[number] for number, offset in sorted(written.ends.items(), reverse=True) if offset < end]
    fold, true = snapshot(written, rows, end).fold.copy(), ConversationFold()
    for record in written.records[:end]:
        true.take(record)
    for record in written.records[end:]:
        assert fold.take(record) == true.take(record)


def test_the_newest_whole_messages() -> None:
    """At most 50 messages and 128 KiB, the newest, none cut; `before` names the oldest shown when there are older."""
    row: TurnCompleted = samples.sample(TurnCompleted)
    many = [replace(row, n=number, input_text="q", output_text="a") for number in range(40, 10, -1)]
    shown = SnapshotFold(many, many[0]).snapshot()
    assert len(shown.history.messages) == MAX_MESSAGES
    assert shown.history.messages[-1].n == 40
    assert shown.before == shown.history.messages[0].item
    large = [replace(row, n=number, input_text="q", output_text="x" * 50_000) for number in (3, 2, 1)]
    bounded = SnapshotFold(large, large[0]).snapshot()
    assert sum(len(each.text) for each in bounded.history.messages) <= MAX_BYTES
    assert [(each.n, each.role) for each in bounded.history.messages] == [
        (2, "user"), (2, "assistant"), (3, "user"), (3, "assistant"),
    ]  # fmt: skip


def test_without_the_store_what_is_missing_is_said() -> None:
    """When the first turn shown isn't the conversation's first, `before` says that there are older ones."""
    row: TurnCompleted = samples.sample(TurnCompleted)
    only = [replace(row, n=7, input_text="q", output_text="a")]
    assert SnapshotFold(only, only[0]).snapshot().before is not None
    assert SnapshotFold([], None).snapshot().before is None


@pytest.mark.parametrize("has_row", [False, True])
def test_a_turn_whose_place_nobody_knows_is_shown(has_row: bool) -> None:
    """A turn that ended before its place could be known bears `n` 0, which is below every row and says nothing."""
    row: TurnCompleted = replace(samples.sample(TurnCompleted), n=1, turn=TURNS[1], log_start=None)
    unplaced = replace(accepted(TURNS[0], order=1), n=0)
    fold = SnapshotFold([row] if has_row else [], row if has_row else None)
    for offset, record in enumerate((unplaced, ended(TURNS[0], 0, 0, Reason.EXPIRED))):
        fold.take(Logged(offset, record, b"{}"))
    assert TURNS[0] in {message.turn for message in fold.snapshot().history.messages}
