"""How a conversation leaves its own topic: when, in which steps, and what comes meanwhile."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import ids, topics
from schemas.topics import CLOSING_POOL
from schemas.turns import LogAddress, Reason
from stream_processors.enrichment import deadlines
from stream_processors.enrichment.draft import fresh
from stream_processors.enrichment.effects import (
    AppendAccepted,
    CloseLog,
    DeleteLog,
    Dispatch,
    ForgetContext,
    LoadContext,
)
from stream_processors.enrichment.facts import Facts, Fits, Limits, Passed
from stream_processors.enrichment.gate import Outcome, reduce
from stream_processors.enrichment.inputs import (
    Allowed,
    Completed,
    DeleteAsked,
    Input,
    Loaded,
    LogClosed,
    LogDeleted,
    Owner,
    StopAsked,
    Ticked,
)
from stream_processors.enrichment.state import Phase, Retirement, State
from stream_processors.enrichment.state_codec import pack, unpack

CONVERSATION = ids.conversation_id("0" * 31 + "5")
OWN = topics.address(CONVERSATION, retired=False, stored=True, lanes=4)
LANE = topics.address(CONVERSATION, retired=True, stored=True, lanes=4)
OWNER = Owner(tenant="acme", user="u", log=OWN)
LIMITS = Limits(lanes=4)
NOW = 10_000_000
IDLE = NOW + LIMITS.retire_ms
HEARD = IDLE + LIMITS.linger_ms
STORED = Passed(turns=100, conversations=100)
T1, T2 = (ids.turn_id(CONVERSATION, f"{number:032x}") for number in (1, 2))


def facts(now_ms: int, **more: object) -> Facts:
    given: dict[str, object] = {"passed": STORED, "limits": LIMITS}
    return Facts(
        now_ms=now_ms,
        plan=lambda _turn: Fits(pool="a", deployment="d", tokens=5),
        is_alive=lambda _pool: True,
        **(given | more),  # type: ignore[arg-type]
    )


def asked(turn: ids.TurnId, order: int, at_ms: int = NOW) -> Allowed:
    return Allowed(
        turn=turn, owner=OWNER, order=order, is_new=order == 0, accepted_ms=at_ms, deadline_ms=at_ms + 60_000
    )


def ended(turn: ids.TurnId, n: int, log: LogAddress = OWN, log_end: int = 9) -> Completed:
    return Completed(
        turn=turn, owner=replace(OWNER, log=log), n=n, epoch=0, reason=Reason.STOP, log_end=log_end, offset=n
    )


def run(state: State | None, *steps: tuple[Input, Facts]) -> Outcome:
    outcome = Outcome(state, ())
    for given_input, at in steps:
        outcome = reduce(CONVERSATION, outcome.state, given_input, at)
    return outcome


def known(outcome: Outcome) -> State:
    assert outcome.state is not None
    return outcome.state


ANSWERED = known(run(None, (asked(T1, 0), facts(NOW)), (ended(T1, 1), facts(NOW))))
CLOSING = known(run(ANSWERED, (Ticked(), facts(IDLE))))
CLOSED = known(run(CLOSING, (LogClosed(offset=7), facts(IDLE))))
GONE = known(run(CLOSED, (LogDeleted(), facts(HEARD))))


def test_an_idle_conversation_is_closed_then_deleted_then_forgotten() -> None:
    """Three steps, each only when its time has come and the one before it is confirmed."""
    closing = run(ANSWERED, (Ticked(), facts(IDLE)))
    assert (known(closing).retirement, known(closing).log, closing.effects) == (
        Retirement.CLOSING, LANE, (CloseLog(),),
    )  # fmt: skip
    assert (CLOSED.retirement, CLOSED.closed_ms, CLOSED.announced_offset) == (Retirement.CLOSED, IDLE, 7)
    assert run(CLOSED, (Ticked(), facts(HEARD - 1))).effects == ()
    assert run(CLOSED, (Ticked(), facts(HEARD))).effects == (DeleteLog(),)
    assert GONE.retirement is Retirement.GONE
    hour = NOW + LIMITS.remember_ms
    assert run(CLOSED, (Ticked(), facts(hour))).state is not None  # nobody else would delete it
    forgotten = run(GONE, (Ticked(), facts(hour)))
    assert (forgotten.state, forgotten.effects) == (None, (ForgetContext(),))


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (facts(IDLE - 1), "it spoke a moment ago"),
        (facts(IDLE, passed=Passed(turns=1)), "its last turn isn't stored"),
        (facts(IDLE, held_ms=NOW + 1), "another gate may have dispatched a turn that isn't read yet"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_it_is_left_alone_while_it_may_be_needed(at: Facts, why: str) -> None:
    """Until it has been idle, stored and ours for long enough, nothing is said and nothing changes."""
    assert run(ANSWERED, (Ticked(), at)) == Outcome(ANSWERED, ()), why


def test_it_is_left_alone_with_a_turn_open() -> None:
    """A turn that runs past the idle time keeps its log."""
    open_turn = known(run(None, (asked(T1, 0), facts(NOW))))
    late = run(open_turn, (Ticked(), facts(IDLE)))
    assert known(late).log == OWN
    assert CloseLog() not in late.effects


def test_a_lane_is_never_left() -> None:
    """Whoever was born in a lane is forgotten as ever, and nothing is closed."""
    born = known(
        run(None, (replace(asked(T1, 0), owner=replace(OWNER, log=LANE)), facts(NOW)), (ended(T1, 1, LANE), facts(NOW)))
    )
    assert run(born, (Ticked(), facts(IDLE))).effects == ()
    assert run(born, (Ticked(), facts(NOW + LIMITS.remember_ms))).state is None


def test_places_in_the_own_topic_mean_nothing_in_the_lane() -> None:
    """What is asked for next begins by its time in the lane, though it comes with the address that was left."""
    assert ANSWERED.log_end == 9
    assert (CLOSING.log_end, CLOSING.ends, CLOSING.place) == (None, (), None)
    sent = run(GONE, (asked(T2, 5, HEARD), facts(HEARD)))
    [turn] = known(sent).turns
    assert (turn.place, turn.n, turn.parent) == (None, 2, T1)
    assert known(sent).log == LANE
    assert [type(effect) for effect in sent.effects] == [AppendAccepted, Dispatch]
    assert sent.effects[-1] == Dispatch(turn)


def test_an_end_in_the_log_that_was_left_is_no_place() -> None:
    """A TurnCompleted of the own topic that is read late moves nothing in the lane."""
    late = known(run(CLOSED, (ended(T2, 2, OWN, 99), facts(IDLE))))
    assert (late.log_end, late.ends) == (None, ())
    here = known(run(CLOSED, (ended(T2, 2, LANE, 5), facts(IDLE))))
    assert here.log_end == 5


def test_a_turn_that_comes_before_the_close_is_said_comes_behind_it() -> None:
    """The effects of the close may be lost: before anything is written to the lane, the close is said again."""
    sent = run(CLOSING, (asked(T2, 5, IDLE), facts(IDLE)))
    assert [type(effect) for effect in sent.effects] == [CloseLog, AppendAccepted, Dispatch]
    assert run(CLOSING, (StopAsked(turn=None, offset=3), facts(IDLE))).effects == (CloseLog(),)
    assert run(CLOSING, (LogClosed(offset=7), facts(IDLE))).effects == ()


def test_a_topic_is_kept_until_the_store_knows() -> None:
    """A store that is behind would bring the conversation back with the address of a topic that is gone."""
    behind = Passed(turns=100, conversations=7)
    assert run(CLOSED, (Ticked(), facts(HEARD, passed=behind))).effects == ()


def test_a_deleted_conversation_loses_its_topic() -> None:
    """Its readers were told by the deletion: only the time is waited for, and late turns end in the lane."""
    gone = known(run(ANSWERED, (DeleteAsked(owner=OWNER, order=3), facts(NOW))))
    assert run(gone, (Ticked(), facts(NOW + LIMITS.linger_ms - 1))).effects == ()
    swept = run(gone, (Ticked(), facts(NOW + LIMITS.linger_ms)))
    assert swept.effects == (DeleteLog(),)
    late = run(swept.state, (asked(T2, 5, HEARD), facts(HEARD)))
    assert known(late).log == LANE


def test_the_store_brings_the_fact_back() -> None:
    """Forgotten and met again with a stale address: its past is loaded first, then it is answered in the lane."""
    old = replace(asked(T2, 5, NOW), is_new=False)
    parked = run(None, (old, facts(NOW)))
    assert parked.effects == (LoadContext(None),)
    sent = run(
        parked.state, (Loaded(next_n=2, last=T1, log_end=9, log=OWN, is_retired=True), facts(NOW))
    )  # fmt: skip
    assert (known(sent).log, known(sent).log_end) == (LANE, None)
    assert known(sent).retirement is Retirement.CLOSED  # a topic that is there all the same is found
    unretired = known(run(parked.state, (Loaded(next_n=2, last=T1, log_end=9, log=OWN), facts(NOW))))
    assert (unretired.log, unretired.log_end) == (OWN, 9)


def test_whom_only_the_directory_has_is_met() -> None:
    """Made without a turn, or forgotten with its topic by an older gate: its past is asked for, then it is retired."""
    met = run(None, (Ticked(), facts(IDLE, owner=OWNER)))
    assert (known(met).phase, known(met).log, met.effects) == (Phase.LOADING, OWN, (LoadContext(None),))
    loaded = run(met.state, (Loaded(), facts(IDLE)))
    assert run(loaded.state, (Ticked(), facts(IDLE))).effects == (CloseLog(),)
    assert run(None, (Ticked(), facts(IDLE))).state is None


def test_one_whose_first_turn_may_still_come_is_remembered() -> None:
    """A request that waits before the gate bears the address of the topic that is gone: it is answered in the lane."""
    met = run(None, (Ticked(), facts(IDLE, owner=OWNER)), (Loaded(), facts(IDLE)))
    closed = run(met.state, (Ticked(), facts(IDLE)), (LogClosed(offset=1), facts(IDLE)))
    gone = run(closed.state, (Ticked(), facts(HEARD)), (LogDeleted(), facts(HEARD)))
    late_ms = IDLE + LIMITS.note_ms - 1
    kept = run(gone.state, (Ticked(), facts(late_ms)))
    answered = run(kept.state, (replace(asked(T1, 0, late_ms), deadline_ms=late_ms + 60_000), facts(late_ms)))
    assert (known(answered).log, kinds(answered)) == (LANE, [AppendAccepted, Dispatch])
    assert run(kept.state, (Ticked(), facts(late_ms + 1))).state is None


def kinds(outcome: Outcome) -> list[type]:
    return [type(effect) for effect in outcome.effects]


def test_a_directory_that_was_written_over_is_told_again() -> None:
    """A gateway that hadn't heard wrote behind us: the close is repeated, and so is the deletion."""
    again = run(GONE, (Ticked(), facts(HEARD, owner=OWNER)))
    assert (known(again).retirement, again.effects) == (Retirement.CLOSING, (CloseLog(),))
    assert known(again).log == LANE


def test_the_next_look_is_when_something_is_due() -> None:
    """An idle conversation wants a tick when its topic may go; one that waits for others, now and then."""
    assert deadlines.due_ms(ANSWERED, LIMITS, NOW) == IDLE
    assert deadlines.due_ms(ANSWERED, LIMITS, IDLE) == IDLE + LIMITS.again_ms
    assert deadlines.due_ms(CLOSING, LIMITS, IDLE) == IDLE + LIMITS.again_ms
    assert deadlines.due_ms(CLOSED, LIMITS, IDLE) == HEARD
    assert deadlines.due_ms(GONE, LIMITS, HEARD) == NOW + LIMITS.remember_ms


def test_values_of_older_programs_are_not_retired() -> None:
    """A state written before there were retirements is read as one whose log is where it was from the first."""
    for state in (ANSWERED, CLOSING, CLOSED, GONE):
        assert unpack(CONVERSATION, pack(state)) == state
    assert fresh(CONVERSATION).retirement is Retirement.NONE


INPUTS: tuple[Input, ...] = (
    asked(T1, 0), asked(T2, 5, IDLE), ended(T1, 1), ended(T2, 2, LANE, 3), Ticked(), LogClosed(offset=7), LogDeleted(),
    Loaded(next_n=2, last=T1), StopAsked(turn=None, offset=4),
)  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(INPUTS), st.integers(0, 4_000_000)), max_size=12)


@given(STEPS)
def test_the_log_is_left_once_and_only_when_nothing_is_open(steps: list[tuple[Input, int]]) -> None:
    """Whatever comes: with no turn open, never taken up again, and not deleted before it was closed."""
    now_ms = NOW
    outcome = run(None, (asked(T1, 0), facts(NOW)))
    for given_input, later_ms in steps:
        before, now_ms = known(outcome), now_ms + later_ms
        outcome = run(before, (given_input, facts(now_ms)))
        if outcome.state is None:
            return
        after = known(outcome)
        if before.log != after.log:
            assert (before.log, after.log, after.turns) == (OWN, LANE, ())
        if DeleteLog() in outcome.effects:
            assert before.retirement is Retirement.CLOSED
        assert (after.log == OWN) == (after.retirement is Retirement.NONE)
        assert all(turn.pool != CLOSING_POOL or turn.dispatch for turn in after.turns)
