"""Every (state, input) pair of the gate's tables, and what each kind of input leaves."""

import itertools
from dataclasses import replace

import pytest

from schemas import codec
from schemas.errors import ErrorCode, InvariantBroken
from schemas.topics import CLOSING_POOL
from schemas.turns import ContextTurn, Failure, OnBusy, Reason
from stream_processors.enrichment.effects import (
    AnnounceDeleted,
    AppendAccepted,
    AppendQueued,
    AppendReset,
    Dispatch,
    EndTurn,
    ForgetContext,
    KeepContext,
    KeepLoaded,
    LoadContext,
    RequestStop,
)
from stream_processors.enrichment.facts import Facts, Fits, InLine, Limits, Passed, Spoken, Unfit, Unloaded
from stream_processors.enrichment.gate import CONVERSATIONS, TICKS, TURNS, Outcome, Standing, reduce
from stream_processors.enrichment.inputs import (
    Allowed,
    Announced,
    Completed,
    DeleteAsked,
    EndLost,
    Input,
    Loaded,
    LogClosed,
    LogDeleted,
    Owner,
    Refused,
    ResetAsked,
    Returned,
    StopAsked,
    Ticked,
    Unreadable,
)
from stream_processors.enrichment.state import Phase, State, Status
from stream_processors.enrichment.state_codec import pack, unpack
from tests.stream_processors.enrichment.simulation import CONVERSATION, OWNER, turn_id

NOW = 1_000_000
T1, T2, T3 = turn_id(1), turn_id(2), turn_id(3)
FITS = Fits(pool="a", deployment="d", tokens=5)


def facts(now_ms: int = NOW, *, alive: bool = True, plan: object = FITS, **more: object) -> Facts:
    return Facts(
        now_ms=now_ms,
        plan=lambda _turn: plan,  # type: ignore[arg-type,return-value]
        is_alive=lambda pool: alive or pool == CLOSING_POOL,
        **more,  # type: ignore[arg-type]
    )


def allowed(turn: str = T1, order: int = 0, **more: object) -> Allowed:
    given: dict[str, object] = {
        "turn": turn, "owner": OWNER, "order": order, "is_new": order == 0, "deadline_ms": NOW + 60_000,
    }  # fmt: skip
    return Allowed(**(given | more))  # type: ignore[arg-type]


def refused(turn: str = T1, order: int = 0) -> Refused:
    return Refused(turn=turn, owner=OWNER, order=order, is_new=order == 0, deadline_ms=NOW + 60_000)  # type: ignore[arg-type]


def completed(turn: str = T1, n: int = 1, offset: int = 0, **more: object) -> Completed:
    given: dict[str, object] = {
        "turn": turn, "owner": OWNER, "n": n, "epoch": 0, "reason": Reason.STOP, "log_end": 9, "offset": offset,
    }  # fmt: skip
    return Completed(**(given | more))  # type: ignore[arg-type]


def run(*inputs: Input, state: State | None = None, at: Facts | None = None) -> Outcome:
    """The outcome of the last of these inputs."""
    outcome = Outcome(state, ())
    for each in inputs:
        outcome = reduce(CONVERSATION, outcome.state, each, at or facts())
    return outcome


def kinds(outcome: Outcome) -> list[type]:
    return [type(effect) for effect in outcome.effects]


STATES = {
    Standing.UNMET: run(allowed(T3), completed(T3, 1)).state,
    Standing.PARKED: run(allowed(T1, 1)).state,
    Standing.WAITING: run(allowed(T3), allowed(T1, 1)).state,
    Standing.ACTIVE: run(allowed(T1)).state,
    Standing.ENDING: run(refused(T1)).state,
    Standing.ENDED: run(allowed(T1), completed(T1)).state,
}
INPUTS: tuple[Input, ...] = (
    allowed(T1, 1),
    refused(T1, 1),
    Unreadable(turn=T1, owner=OWNER, order=1, is_new=False, deadline_ms=NOW),
    StopAsked(turn=T1, offset=3),
    completed(T1, 2, 1),
    Returned(turn=T1, dispatch=1, offset=4),
    EndLost(turn=T1, dispatch=3),
)
OTHERS: tuple[Input, ...] = (
    ResetAsked(owner=OWNER, order=7),
    DeleteAsked(owner=OWNER, order=8),
    Loaded(next_n=4, epoch=1, last=T2),
    Announced(offset=5),
    Ticked(),
    StopAsked(turn=None, offset=9),
    LogClosed(offset=6),
    LogDeleted(),
)


def test_the_tables_have_a_row_for_every_pair() -> None:
    """No turn can stand where an input has no row, and every conversation input has one."""
    assert set(TURNS) == set(itertools.product(Standing, {type(each) for each in INPUTS}))
    assert set(CONVERSATIONS) == {type(each) for each in OTHERS}
    assert set(TICKS) == set(Status)


@pytest.mark.parametrize("standing", Standing)
@pytest.mark.parametrize("given", [*INPUTS, *OTHERS], ids=lambda given: type(given).__name__)
def test_every_pair_holds_the_rules(standing: Standing, given: Input) -> None:
    """Whatever comes: at most one turn is active, it is the first, and the same input again changes nothing more."""
    once = run(given, state=STATES[standing])
    again = run(given, state=once.state)
    for outcome in (once, again):
        turns = outcome.state.turns if outcome.state else ()
        assert all(turn.status is not Status.ACTIVE for turn in turns[1:])
        assert [turn.order for turn in turns if turn.status is Status.WAITING] == sorted(
            turn.order for turn in turns if turn.status is Status.WAITING
        )
    if not isinstance(given, EndLost):  # made by the gate itself, once
        assert again.state == once.state


@pytest.mark.parametrize("standing", Standing)
@pytest.mark.parametrize("given", INPUTS, ids=lambda given: type(given).__name__)
def test_effects_lost_in_a_crash_are_said_again(standing: Standing, given: Input) -> None:
    """The input again, by a life that has said nothing yet, brings what the first time put on its way."""
    once = run(given, state=STATES[standing])
    again = run(given, state=once.state)
    lasting = (Dispatch, EndTurn, AppendAccepted)
    if not isinstance(given, EndLost):
        said = {(type(effect), effect.turn.turn) for effect in again.effects if isinstance(effect, lasting)}
        assert {(type(e), e.turn.turn) for e in once.effects if isinstance(e, lasting)} <= said


def test_an_unknown_input_is_a_bug() -> None:
    """A pair without a row stops the gate instead of being ignored."""
    with pytest.raises(InvariantBroken):
        reduce(CONVERSATION, None, "tick", facts())  # type: ignore[arg-type]


def test_a_new_conversation_goes_out_at_once() -> None:
    """The first turn is accepted, then dispatched under number 1 to the planned pool."""
    outcome = run(allowed())
    assert kinds(outcome) == [AppendAccepted, Dispatch]
    [turn] = [effect.turn for effect in outcome.effects if isinstance(effect, Dispatch)]
    assert (turn.n, turn.parent, turn.dispatch, turn.pool, turn.place) == (1, None, 1, "a", None)


def test_the_next_goes_out_only_when_completed_is_read() -> None:
    """The second turn waits for the first one's TurnCompleted, and begins at its end in the log."""
    waiting = run(allowed(), allowed(T2, 1))
    assert kinds(waiting) == [AppendAccepted, AppendAccepted, AppendQueued]
    after = run(completed(), state=waiting.state)
    assert Dispatch in kinds(after)
    assert KeepContext in kinds(after)
    third = run(allowed(T3, 2), state=after.state)
    assert third.state is not None
    assert [(turn.n, turn.place) for turn in third.state.turns] == [(2, None), (3, 9)]


def test_a_turn_that_ends_early_begins_before_those_that_still_run() -> None:
    """Each end that overtakes an earlier turn has a place before that turn was accepted; one in order keeps its own."""
    second = run(allowed(), completed(T1), allowed(T2, 1)).state  # T2 runs, accepted behind 9
    rejected = run(allowed(T3, 2, on_busy=OnBusy.REJECT), completed(T3, 3, 1, log_end=40), state=second)
    third, fourth = turn_id(4), turn_id(5)
    waiting = run(allowed(third, 3), state=rejected.state)
    assert waiting.state is not None
    assert [(turn.turn, turn.place) for turn in waiting.state.turns] == [(T2, 9), (third, 40)]
    ends = (
        run(StopAsked(turn=third), state=waiting.state),
        run(Ticked(), state=waiting.state, at=facts(NOW + 60_000)),
        run(refused(fourth, 4), state=waiting.state),
        run(allowed(fourth, 4, on_busy=OnBusy.REJECT), state=waiting.state),
    )
    for outcome in ends:
        assert [effect.turn.place for effect in outcome.effects if isinstance(effect, EndTurn)] == [9]


def test_busy_conversations_reject_interrupt_and_bound() -> None:
    """Reject ends as busy, interrupt stops the active turn, and too many waiting ones end as busy."""
    one = run(allowed())
    rejected = run(allowed(T2, 1, on_busy=OnBusy.REJECT), state=one.state)
    assert rejected.state is not None
    assert (rejected.state.turns[1].status, rejected.state.turns[1].code) == (
        Status.ENDING,
        ErrorCode.CONVERSATION_BUSY,
    )
    interrupting = run(allowed(T2, 1, on_busy=OnBusy.INTERRUPT), state=one.state)
    assert RequestStop(T1) in interrupting.effects
    bound = facts(limits=Limits(waiting=1))
    full = run(allowed(), allowed(T2, 1), allowed(T3, 2), at=bound)
    assert full.state is not None
    assert full.state.turns[2].status is Status.ENDING


def test_a_burst_of_turns_waits() -> None:
    """With the default bounds twenty turns sent at once all enter: one is dispatched, the others wait."""
    burst = run(*(allowed(turn_id(number + 1), number) for number in range(20)))
    assert burst.state is not None
    assert [turn.status for turn in burst.state.turns] == [Status.ACTIVE] + 19 * [Status.WAITING]


def test_plans_decide_how_a_turn_goes_out() -> None:
    """One that can't fit ends as failed; one whose parent isn't known is loaded once, then fails."""
    unfit = run(allowed(), at=facts(plan=Unfit(Failure(ErrorCode.CONTEXT_TOO_LARGE, "big", retriable=False))))
    assert unfit.state is not None
    assert unfit.state.turns[0].code is ErrorCode.CONTEXT_TOO_LARGE
    away = facts(plan=Unloaded(T3))
    asked = run(allowed(parent=T3), at=away)
    assert LoadContext(T3) in asked.effects
    found = run(Loaded(parent=T3), state=asked.state)
    assert Dispatch in kinds(found)
    missing = run(Loaded(parent=T3), state=asked.state, at=away)
    assert missing.state is not None
    assert missing.state.turns[0].code is ErrorCode.INVALID_REQUEST


def test_deadlines() -> None:
    """Who waits expires by the gate; an active turn goes to `closing` at once without a worker, else 30 s later."""
    both = run(allowed(), allowed(T2, 1)).state
    late = NOW + 60_000
    expired = run(Ticked(), state=both, at=facts(late))
    assert [type(each) for each in expired.effects if not isinstance(each, AppendAccepted)] == [EndTurn]
    closed = run(Ticked(), state=both, at=facts(late, alive=False))
    sent = next(effect.turn for effect in closed.effects if isinstance(effect, Dispatch))
    assert (sent.pool, sent.dispatch, sent.reason) == (CLOSING_POOL, 2, Reason.EXPIRED)
    silent = run(Ticked(), state=both, at=facts(late + 30_000))
    assert any(isinstance(effect, Dispatch) for effect in silent.effects)
    again = run(Ticked(), state=silent.state, at=facts(late + 60_000))
    assert next(e.turn.dispatch for e in again.effects if isinstance(e, Dispatch)) == 3


def test_returned_turns_get_the_next_number() -> None:
    """A return of the state's number or a higher one is answered with one more; an older one with nothing."""
    active = run(allowed()).state
    once = run(Returned(turn=T1, dispatch=1, offset=4), state=active)
    assert [effect.turn.dispatch for effect in once.effects if isinstance(effect, Dispatch)] == [2]
    higher = run(Returned(turn=T1, dispatch=5, offset=5), state=once.state)
    assert [effect.turn.dispatch for effect in higher.effects if isinstance(effect, Dispatch)] == [6]
    stale = run(Returned(turn=T1, dispatch=2, offset=6), state=higher.state)
    assert not [effect for effect in stale.effects if isinstance(effect, Dispatch)]
    noted = run(Returned(turn=T1, dispatch=3, offset=1), allowed())
    assert [effect.turn.dispatch for effect in noted.effects if isinstance(effect, Dispatch)] == [4]


def sent_of(outcome: Outcome) -> Dispatch:
    """The one dispatch among the effects."""
    [sent] = [effect for effect in outcome.effects if isinstance(effect, Dispatch)]
    return sent


def failure(dispatch: int, failures: int, **more: object) -> Returned:
    """A return behind a failed engine."""
    given: dict[str, object] = {"turn": T1, "dispatch": dispatch, "offset": dispatch, "worker": "w1"}
    return Returned(**(given | {"failures": failures} | more))  # type: ignore[arg-type]


def test_a_failed_turn_goes_to_another_worker() -> None:
    """Under the next number, in its pool, away from the worker that failed, with all that was counted."""
    outcome = run(failure(1, 1, discarded_tokens=7), state=run(allowed()).state)
    sent = sent_of(outcome)
    assert (sent.turn.pool, sent.turn.dispatch, sent.avoid) == ("a", 2, "w1")
    assert (sent.turn.failures, sent.turn.discarded_tokens, sent.turn.is_degraded) == (1, 7, False)
    again = run(failure(1, 1, discarded_tokens=7), state=outcome.state)
    assert sent_of(again) == sent
    assert again.state == outcome.state


def test_a_return_without_a_failure_counts_nothing() -> None:
    """A crowded worker's give-back keeps the count and may go anywhere."""
    failed = run(failure(1, 1), state=run(allowed()).state)
    sent = sent_of(run(failure(2, 1), state=failed.state))
    assert (sent.turn.failures, sent.turn.dispatch, sent.avoid) == (1, 3, None)


def test_a_turn_that_failed_too_often_falls_back_once() -> None:
    """To the pool that its fallback names, marked, with a count of its own; what fails there too is closed."""
    other = Fits(pool="b", deployment="e", tokens=9)
    tired = facts(attempts=lambda _turn: 2, fallback=lambda turn: None if turn.is_degraded else other)
    once = run(failure(1, 1), state=run(allowed()).state, at=tired)
    fallen = run(failure(2, 2), state=once.state, at=tired)
    turn = sent_of(fallen).turn
    assert (turn.pool, turn.deployment, turn.tokens, turn.dispatch) == ("b", "e", 9, 3)
    assert (turn.failures, turn.is_degraded, turn.origin) == (0, True, "a")
    assert sent_of(run(failure(2, 2), state=fallen.state, at=tired)).turn == turn
    both = run(failure(3, 1), failure(4, 2), state=fallen.state, at=tired)
    turn = sent_of(both).turn
    assert (turn.pool, turn.dispatch, turn.reason) == (CLOSING_POOL, 5, Reason.FAILED)
    assert turn.code is ErrorCode.ENGINE_FAILED
    assert (turn.origin, turn.is_degraded) == ("a", True)


@pytest.mark.parametrize(("fallback", "is_degraded"), [(Spoken(), True), (None, False)])
def test_a_turn_without_another_pool_is_closed(fallback: Spoken | None, is_degraded: bool) -> None:
    """It ends as failed, in clear words, or by its sentence, which marks it."""
    tired = facts(attempts=lambda _turn: 1, fallback=lambda _turn: fallback)
    turn = sent_of(run(failure(1, 1), state=run(allowed()).state, at=tired)).turn
    assert (turn.pool, turn.reason, turn.code) == (CLOSING_POOL, Reason.FAILED, ErrorCode.ENGINE_FAILED)
    assert turn.message == "the model failed to answer, 1 times in a row"
    assert turn.is_degraded is is_degraded


def test_two_models_are_never_joined() -> None:
    """Where something of the answer was shown nobody is asked for a fallback: the turn ends as failed."""
    tired = facts(attempts=lambda _turn: 1, fallback=lambda _turn: Fits(pool="b", deployment="e", tokens=9))
    turn = sent_of(run(failure(1, 1, is_shown=True), state=run(allowed()).state, at=tired)).turn
    assert (turn.pool, turn.is_degraded) == (CLOSING_POOL, False)


@pytest.mark.parametrize("why", ["stop", "deadline"])
def test_a_turn_that_is_to_end_is_not_tried_again(why: str) -> None:
    """A stop or a deadline that comes with the failure wins over the next attempt."""
    state = run(allowed()).state
    if why == "stop":
        state = run(StopAsked(turn=T1), state=state).state
    at = facts(NOW + 60_000 if why == "deadline" else NOW)
    turn = sent_of(run(failure(1, 1), state=state, at=at)).turn
    assert turn.pool == CLOSING_POOL
    assert turn.reason is (Reason.CANCELLED if why == "stop" else Reason.EXPIRED)


def test_values_from_before_fallbacks_are_read() -> None:
    """An open turn written by an earlier program has failed nowhere."""
    state = run(allowed()).state
    assert state is not None
    row = codec.parse(pack(state))
    row[11] = [turn[:23] for turn in row[11]]
    [turn] = unpack(CONVERSATION, codec.encode(row)).turns
    assert (turn.failures, turn.discarded_tokens, turn.origin, turn.is_degraded) == (0, 0, None, False)
    assert turn == replace(state.turns[0], origin=None)


def test_an_end_that_was_not_taken_goes_to_closing() -> None:
    """The turn runs under another life's number: it ends through `closing` above the log's highest (R8)."""
    outcome = run(refused(), EndLost(turn=T1, dispatch=4))
    [sent] = [effect.turn for effect in outcome.effects if isinstance(effect, Dispatch)]
    assert (sent.pool, sent.dispatch, sent.reason) == (CLOSING_POOL, 5, Reason.REFUSED)


def test_stops_without_a_worker_go_to_closing() -> None:
    """A stop of a turn in a pool where nobody works ends it through `closing` as cancelled, at once."""
    outcome = run(StopAsked(turn=T1), state=run(allowed()).state, at=facts(alive=False))
    [sent] = [effect.turn for effect in outcome.effects if isinstance(effect, Dispatch)]
    assert (sent.pool, sent.reason) == (CLOSING_POOL, Reason.CANCELLED)


def test_a_repeated_stop_of_whoever_is_active_spares_the_next() -> None:
    """A stop without a turn means the one that was active when it was first read."""
    stop = StopAsked(turn=None, offset=5)
    state = run(allowed(), allowed(T2, 1), stop, completed()).state
    outcome = run(stop, state=state)
    assert outcome.state is not None
    assert not outcome.state.turns[0].is_stopped


def test_resets_raise_the_epoch_at_once() -> None:
    """Turns accepted behind a reset have the new epoch and no parent; a repeat says the same epoch."""
    reset = ResetAsked(owner=OWNER, order=1)
    outcome = run(allowed(), reset, allowed(T2, 2))
    assert outcome.state is not None
    assert [(turn.epoch, turn.parent) for turn in outcome.state.turns] == [(0, None), (1, None)]
    same_life = facts(was_said=lambda _turn: True)
    assert run(reset, state=outcome.state, at=same_life).effects == (AppendReset(1, 1),)


def test_deletes_end_all_and_announce_when_nothing_is_open() -> None:
    """The active turn is stopped, the others end cancelled; then the deletion is told, and late turns end as failed."""
    deleting = run(allowed(), allowed(T2, 1), DeleteAsked(owner=OWNER, order=2))
    assert RequestStop(T1) in deleting.effects
    assert AnnounceDeleted not in kinds(deleting)
    gone = run(completed(T1), completed(T2, 2, 1), state=deleting.state)
    assert kinds(gone) == [ForgetContext, AnnounceDeleted]
    late = run(allowed(T3, 3), state=gone.state)
    assert late.state is not None
    assert late.state.turns[0].code is ErrorCode.NOT_FOUND


def test_unknown_conversations_are_parked_until_loaded() -> None:
    """Nothing is said in the log before the past is known; then turns and resets enter in their order."""
    parked = run(allowed(T1, 5), ResetAsked(owner=OWNER, order=6), allowed(T2, 7))
    assert kinds(parked) == []
    assert parked.state is not None
    assert parked.state.phase is Phase.LOADING
    loaded = run(Loaded(next_n=8, epoch=3, last=T3, log_end=77), state=parked.state)
    assert KeepLoaded in kinds(loaded)
    assert loaded.state is not None
    turns = [(turn.n, turn.parent, turn.epoch, turn.place) for turn in loaded.state.turns]
    assert turns == [(8, T3, 3, 77), (9, None, 4, 77)]
    expired = run(Ticked(), state=parked.state, at=facts(NOW + 60_000))
    assert EndTurn in kinds(expired)
    assert LoadContext(None) in expired.effects


def test_a_conversation_too_young_to_be_forgotten_enters_without_the_store() -> None:
    """Made less than the time of forgetting ago, by clocks that differ a little: there is nothing to load."""
    minute, hour = 60_000, 3_600_000
    young = run(allowed(T1, 5, created_ms=NOW - hour + minute + 1))
    assert kinds(young) == [AppendAccepted, Dispatch]
    old = run(allowed(T1, 5, created_ms=NOW - hour + minute))
    assert kinds(old) == [LoadContext]
    brief = facts(limits=Limits(remember_ms=1_000))
    assert kinds(run(allowed(T1, 5, created_ms=NOW), at=brief)) == [LoadContext]


def test_a_turn_that_ends_at_once_is_nobody_s_parent() -> None:
    """Behind one that was refused or rejected the latest turn is still the one before it."""
    for ended in (refused(T2, 1), allowed(T2, 1, on_busy=OnBusy.REJECT), allowed(T2, 1, deadline_ms=NOW)):
        outcome = run(allowed(), ended, allowed(T3, 2))
        assert outcome.state is not None
        assert [(turn.n, turn.parent) for turn in outcome.state.turns] == [(1, None), (2, T1), (3, T1)]
    stopped = run(allowed(T1, 1), StopAsked(turn=T1), Loaded(next_n=4, last=T3), allowed(T2, 2))
    assert stopped.state is not None
    assert [turn.parent for turn in stopped.state.turns] == [T3, T3]


def test_who_waits_in_a_pool_is_told() -> None:
    """On being dispatched behind others, then when it has moved and five seconds are over, until it should run."""
    queued = facts(plan=replace(FITS, ahead=3))
    sent = run(allowed(), at=queued)
    assert kinds(sent) == [AppendAccepted, AppendQueued, Dispatch]

    def ticked(after_ms: int, ahead: int | None, state: State | None) -> Outcome:
        line = None if ahead is None else InLine(ahead, None)
        return run(Ticked(), state=state, at=facts(NOW + after_ms, in_line=lambda _turn: line))

    assert ticked(4_999, 1, sent.state).effects == ()
    assert ticked(5_000, 3, sent.state).effects == ()
    moved = ticked(5_000, 1, sent.state)
    assert [effect.ahead for effect in moved.effects if isinstance(effect, AppendQueued)] == [1]
    begun = ticked(10_000, None, moved.state)
    assert begun.effects == ()
    assert ticked(20_000, 2, begun.state).effects == ()


def test_ends_of_turns_not_met_are_kept() -> None:
    """TurnCompleted before TurnAllowed: the request starts nothing, and the next turn follows it."""
    outcome = run(completed(T1), allowed(T1), allowed(T2, 1))
    assert outcome.state is not None
    [turn] = outcome.state.turns
    assert (turn.turn, turn.n, turn.parent) == (T2, 2, T1)


def test_idle_conversations_are_forgotten_when_they_are_stored() -> None:
    """After an hour, and when persistence has passed the last end; an unstored one needs no store."""
    idle = run(allowed(), completed(offset=7)).state
    hour = NOW + 3_600_000
    kept = run(Ticked(), state=idle, at=facts(hour, passed=Passed(turns=7))).state
    assert kept is not None
    assert run(Ticked(), state=idle, at=facts(hour, passed=Passed(turns=8))).state is None
    own = replace(OWNER, stored=False)
    unstored = run(allowed(owner=own), completed(owner=own)).state
    assert run(Ticked(), state=unstored, at=facts(hour)).state is None


def test_owners_are_kept_from_the_first_record() -> None:
    """Whose conversation it is comes with the first record that says so."""
    outcome = run(completed(T1, owner=Owner(tenant="t", user="u", log=OWNER.log)))
    assert outcome.state is not None
    assert outcome.state.tenant == "t"


def test_an_end_younger_than_the_request_is_no_place_to_begin() -> None:
    """Another life of the gate may have ended a turn before the end that this one knows: it is read from before."""
    asked_ms = NOW - 20_000
    before = run(allowed(T1, accepted_ms=asked_ms - 60_000), completed(T1, ended_ms=NOW - 3_000))
    young = reduce(CONVERSATION, before.state, allowed(T2, 1, accepted_ms=asked_ms), facts())
    assert young.state is not None
    assert young.state.turns[0].place is None
    late = reduce(CONVERSATION, before.state, allowed(T2, 1, accepted_ms=NOW + 2_000), facts())
    assert late.state is not None
    assert late.state.turns[0].place == 9
    assert unpack(CONVERSATION, pack(late.state)) == late.state


def test_quick_conversations_are_not_read_from_their_beginning() -> None:
    """With a turn a second, each begins at an end some seconds old: the place moves on, and few ends are kept."""
    state = run(allowed(T1, accepted_ms=NOW)).state
    places = []
    for number in range(40):
        at_ms, ended, asked = NOW + 1000 * number, turn_id(number + 1), turn_id(number + 2)
        end = completed(ended, n=number + 1, log_end=10 * number, ended_ms=at_ms)
        state = run(end, allowed(asked, number + 1, accepted_ms=at_ms), state=state).state
        assert state is not None
        assert len(state.ends) <= 8
        places.append(state.turns[0].place)
    assert places[:5] == [None] * 5
    assert places[5:] == [10 * number for number in range(35)]


def test_states_of_before_a_field_was_added_are_read() -> None:
    """A changelog's older rows have no time of their last end: it counts as long ago."""
    state = run(allowed(T1), completed(T1, ended_ms=NOW), allowed(T2, 1, accepted_ms=NOW)).state
    assert state is not None
    row = codec.parse(pack(state))
    older = codec.encode([*row[:11], [turn[:23] for turn in row[11]], *row[12:20]])
    read = unpack(CONVERSATION, older)
    assert (read.log_end, read.ends, read.place) == (9, ((9, 0),), 9)
    assert read.turns[0].accepted_ms == 0


def test_an_interrupting_request_again_ends_whom_it_interrupted_again() -> None:
    """Its first effects may be lost with the gate that decided them: stop and end are said again, without the clock."""
    asked = allowed(T3, 2, on_busy=OnBusy.INTERRUPT)
    before = run(allowed(T1), allowed(T2, 1), asked)
    again = reduce(CONVERSATION, before.state, asked, facts())
    assert again.state == before.state
    assert {effect.turn.turn for effect in again.effects if isinstance(effect, EndTurn)} == {T2}
    assert RequestStop(T1) in again.effects


def test_a_reset_said_again_does_not_hide_an_older_turn() -> None:
    """After a crash the past may be loaded again first: the turn before the reset is accepted in the log before it."""
    parked = run(allowed(is_new=False), ResetAsked(owner=OWNER, order=1), Loaded())
    again = run(Loaded(), state=parked.state)
    said = [type(effect) for effect in again.effects if isinstance(effect, AppendAccepted | AppendReset)]
    assert said == [AppendAccepted, AppendReset]


def test_nobody_follows_a_turn_that_ended_before_its_parent() -> None:
    """A turn that another life accepted and ended out of order is no parent of the one that comes before it."""
    ended_early = completed(T3, n=3, parent=T2, reason=Reason.REFUSED)
    outcome = run(allowed(), completed(T1), ended_early, allowed(T2, 1))
    assert outcome.state is not None
    assert [(turn.turn, turn.parent) for turn in outcome.state.turns] == [(T2, T1)]
    in_order = run(allowed(), completed(T1), completed(T2, n=2, parent=T1), completed(T3, n=3, parent=T2))
    assert in_order.state is not None
    assert in_order.state.last == T3


def test_the_first_turn_follows_nothing_that_a_zombie_ended_before_it() -> None:
    """The turn that makes a conversation is the first of it, though the end of a later one may have been read."""
    for is_new, parent in ((True, None), (True, T1), (False, T1)):
        early = completed(T2, n=2, parent=parent, reason=Reason.FAILED)
        outcome = run(early, allowed(T1, is_new=is_new), *(() if is_new else (Loaded(),)))
        assert outcome.state is not None
        assert [(turn.turn, turn.parent) for turn in outcome.state.turns] == [(T1, None)]


def test_a_parked_turn_that_another_life_saw_through_is_over() -> None:
    """The store may know a turn's end before this life reads it: it is not dispatched again; others enter behind it."""
    parked = run(allowed(is_new=False), allowed(T2, 1))
    known = facts(has_ended=lambda turn: turn == T1)
    found = run(Loaded(next_n=2, last=T1, log_end=7, ended_ms=NOW), state=parked.state, at=known)
    assert found.state is not None
    assert [(turn.turn, turn.parent) for turn in found.state.turns] == [(T2, T1)]
    assert [each.turn for each in found.state.ended] == [T1]


def test_the_past_is_asked_for_again_when_nobody_waits_for_it_any_more() -> None:
    """A life that asked the store may be dead, and its turn over: the next one to be parked asks again."""
    parked = run(allowed(is_new=False))
    assert [type(effect) for effect in parked.effects] == [LoadContext]
    assert run(allowed(T2, 1), state=parked.state).effects == ()
    over = run(completed(T1, n=0), state=parked.state)
    assert [type(effect) for effect in run(allowed(T2, 1), state=over.state).effects] == [LoadContext]


def test_a_turn_whose_end_only_the_table_knows_has_its_place() -> None:
    """Its request comes before its TurnCompleted: who comes next gets another place, and follows it."""
    first = run(allowed(), completed(T1))
    ended = ContextTurn(
        turn=T2,
        n=2,
        parent=T1,
        epoch=0,
        reason=Reason.STOP,
        texts=(),
        log_start=9,
        log_end=20,
        ended_at="2026-01-01T00:00:00.000Z",
    )
    known = facts(has_ended=lambda turn: turn == T2, ended=lambda turn: ended if turn == T2 else None)
    late = run(allowed(T2, 1), state=first.state, at=known)
    assert late.effects == ()
    third = run(allowed(T3, 2), state=late.state)
    assert third.state is not None
    assert [(turn.turn, turn.n, turn.parent) for turn in third.state.turns] == [(T3, 3, T2)]
    assert third.state.log_end == 20


def test_a_load_that_nobody_waits_for_any_more_is_over() -> None:
    """The turn that missed its parent has ended before the store answered: the store is not asked for ever."""
    waiting = run(allowed(parent=T3), at=facts(plan=Unloaded(T3)))
    assert LoadContext(T3) in waiting.effects
    over = run(StopAsked(turn=T1), completed(T1), Loaded(parent=T3), state=waiting.state)
    assert over.state is not None
    assert over.state.load_ms == 0


def test_a_load_that_comes_behind_a_delete_keeps_nothing() -> None:
    """What the store said before it heard of the delete is not put back."""
    parked = run(allowed(is_new=False), DeleteAsked(owner=OWNER, order=1))
    late = run(Loaded(next_n=4, last=T3), state=parked.state)
    assert KeepLoaded not in kinds(late)


def test_a_turn_that_ends_without_a_place_leaves_one_free() -> None:
    """It expired before the past was known; a zombie may have counted it: who comes next has another place."""
    parked = run(allowed(is_new=False), allowed(T2, 1, deadline_ms=NOW + 900_000))
    expired = run(Ticked(), state=parked.state, at=facts(NOW + 60_000))
    found = run(Loaded(next_n=5, last=T3), state=expired.state, at=facts(NOW + 60_001))
    assert found.state is not None
    assert [(turn.turn, turn.n) for turn in found.state.turns] == [(T1, 0), (T2, 6)]
