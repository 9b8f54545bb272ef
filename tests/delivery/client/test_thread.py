"""The reader's rule: what delivery sends is shown once, whatever a cut repeats, and what is missing is noticed."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.client.thread import Fate, Thread, from_history
from schemas.records import LogRecord
from tests.delivery.client.streams import answers, delivered, history, lively_logs, merged, once_accepted, plain, taken
from tests.support.logs import TURNS, accepted, delta, ended, queued, reset, started, wild_logs

# No deadline: other tests' brokers and browsers share the cores.
PROPERTY = settings(max_examples=60)
JOINS = st.lists(st.booleans(), min_size=1, max_size=7)


def shown(thread: Thread) -> dict[str, str]:
    """Each turn's answer."""
    return {turn.id: turn.answer for turn in thread.turns.values()}


def fates(thread: Thread, events: list[dict[str, Any]]) -> list[Fate]:
    """What became of each event."""
    return [thread.take(event) for event in events]


@PROPERTY
@given(lively_logs() | wild_logs().map(once_accepted))
def test_it_takes_what_every_reader_takes(log: list[LogRecord]) -> None:
    """On a raw log the thread takes the records that the rule of the log takes, and shows their text."""
    thread = Thread()
    kept = [record for record, event in zip(log, plain(log), strict=True) if thread.take(event) is Fate.TAKEN]
    assert kept == taken(log)
    assert shown(thread) == answers(kept)


@PROPERTY
@given(delivered(), JOINS)
def test_merged_deltas_are_the_same_text(log: list[LogRecord], joins: list[bool]) -> None:
    """Deltas merged for a slow reader, in any way, are all taken and give the same answers."""
    thread = Thread()
    assert set(fates(thread, merged(plain(log), joins))) <= {Fate.TAKEN}
    assert shown(thread) == answers(log)


@PROPERTY
@given(delivered(), st.data())
def test_what_a_cut_repeats_is_dropped(log: list[LogRecord], data: st.DataObject) -> None:
    """After any cut, events sent again from any earlier place are dropped, and the new ones are each taken once."""
    events = plain([record for record in log if record.type != "turn.queued"])  # a queue's length may be told twice
    cut = data.draw(st.integers(0, len(events)))
    back = data.draw(st.integers(0, cut))
    thread = Thread()
    fates(thread, events[:cut])
    again = fates(thread, events[back:])
    assert set(again[: cut - back]) <= {Fate.DROPPED}
    assert set(again[cut - back :]) <= {Fate.TAKEN}
    assert shown(thread) == answers(log)


@PROPERTY
@given(delivered(), JOINS, st.data())
def test_history_stands_for_what_lies_before_it(log: list[LogRecord], joins: list[bool], data: st.DataObject) -> None:
    """A thread begun from the history at any place goes on behind it without a seam."""
    cut = data.draw(st.integers(0, len(log)))
    thread = from_history(history(log[:cut]), None)
    assert set(fates(thread, merged(plain(log[cut:]), joins))) <= {Fate.TAKEN}
    assert shown(thread) == answers(log)


@PROPERTY
@given(delivered(), st.data())
def test_a_bare_position_is_enough_to_go_on(log: list[LogRecord], data: st.DataObject) -> None:
    """A reader that kept its position and nothing else takes every event behind it, once."""
    cut = data.draw(st.integers(0, len(log)))
    thread = Thread(is_whole=False)
    events = plain(log[cut:])
    assert set(fates(thread, events)) <= {Fate.TAKEN}
    before, whole = answers(log[:cut]), answers(log)
    assert all(before.get(turn, "") + text == whole[turn] for turn, text in shown(thread).items())
    assert Fate.TAKEN not in fates(thread, [event for event in events if event["type"] != "turn.queued"])


@PROPERTY
@given(delivered(), st.data())
def test_a_lost_delta_is_a_gap(log: list[LogRecord], data: st.DataObject) -> None:
    """When a delta is missing, no later text of its turn is shown, and the next event of the attempt is a gap."""
    events = plain(log)
    places = [number for number, event in enumerate(events) if event["type"] == "turn.delta"]
    if not places:
        return
    lost = data.draw(st.sampled_from(places))
    turn, attempt = events[lost]["turn"], events[lost]["attempt"]
    thread = Thread()
    fates(thread, events[:lost])
    before = thread.turns[turn].answer
    later = [event for event in events[lost + 1 :] if event["turn"] == turn and event["type"] != "turn.queued"]
    told = fates(thread, later)
    assert thread.turns[turn].answer == before
    if later and later[0]["attempt"] == attempt:
        assert told[0] is Fate.GAP


def test_a_merged_delta_over_a_seam_is_a_gap() -> None:
    """One that begins in what is shown and ends behind it can't be cut, so the thread begins anew."""
    turn = TURNS[0]
    events = plain([accepted(turn, 0), started(turn, 1), delta(turn, 1, 0), delta(turn, 1, 1)])
    thread = Thread()
    fates(thread, events)
    assert thread.take({**events[2], "last_seq": 2}) is Fate.GAP
    assert thread.take({**events[2], "last_seq": 1}) is Fate.DROPPED


def test_what_a_later_release_says_is_passed_over() -> None:
    """Unknown types are dropped; unknown channels count, and aren't shown."""
    turn = TURNS[0]
    thread = Thread()
    events = plain([accepted(turn, 0), started(turn, 1), delta(turn, 1, 0), delta(turn, 1, 1)])
    fates(thread, events[:2])
    assert thread.take({**events[2], "type": "turn.sang"}) is Fate.DROPPED
    assert thread.take({**events[2], "channel": "thoughts"}) is Fate.TAKEN
    assert thread.take(events[3]) is Fate.TAKEN
    assert thread.turns[turn].answer == "<1.1>"


def test_a_turn_tells_how_it_stands_and_ended() -> None:
    """What waits before it, that a smaller model answers, why it ended and what was said of that are kept."""
    first, second = TURNS[:2]
    thread = Thread()
    end = plain([ended(first, 1, 0)])[0]
    log = plain([accepted(first, 0), queued(first), started(first, 1), accepted(second, 1), reset(2), reset(2)])
    assert fates(thread, log) == [*[Fate.TAKEN] * 5, Fate.DROPPED]
    thread.take({**end, "reason": "refused", "detail": {"refusal": "Not this."}})
    turn = thread.turns[first]
    assert (turn.ahead, turn.reason, turn.refusal) == (1, "refused", "Not this.")
    assert thread.turns[second].reason is None
