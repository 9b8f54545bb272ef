"""The gate: a pure reducer, `(state, input, facts) -> (state, effects)`, one conversation at a time.

Every transition is a row of one of the tables below: by where the turn stands, or by what befalls the conversation. A
repeated input changes nothing and says again what the state says is due; whoever reads it drops repeats.
Source: architecture, "The gate"; the rules were model-checked as R6-R9.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from schemas.errors import InvariantBroken
from schemas.ids import ConversationId, TurnId
from stream_processors.enrichment import deadlines, lifecycle, ordering, retiring, returns, stopping
from stream_processors.enrichment.draft import Draft, fresh
from stream_processors.enrichment.effects import AppendAccepted, AppendReset, Dispatch, Effect, EndTurn
from stream_processors.enrichment.endings import close
from stream_processors.enrichment.facts import Facts
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
    Refused,
    ResetAsked,
    Returned,
    StopAsked,
    Ticked,
    Unreadable,
)
from stream_processors.enrichment.state import OpenTurn, Phase, State, Status


class Standing(Enum):
    """Where a turn stands, seen from an input that names it."""

    UNMET = "unmet"
    PARKED = "parked"
    WAITING = "waiting"
    ACTIVE = "active"
    ENDING = "ending"
    ENDED = "ended"


_STANDINGS: Final[Mapping[Status, Standing]] = {
    Status.PARKED: Standing.PARKED,
    Status.WAITING: Standing.WAITING,
    Status.ACTIVE: Standing.ACTIVE,
    Status.ENDING: Standing.ENDING,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is true after an input. `state` None: nothing of the conversation is kept."""

    state: State | None
    effects: tuple[Effect, ...]


TurnStep = Callable[[Draft, OpenTurn | None, Any], None]
ConversationStep = Callable[[Draft, Any], None]


def _open(step: Callable[[Draft, OpenTurn, Any], None]) -> TurnStep:
    def with_turn(draft: Draft, turn: OpenTurn | None, given: Any) -> None:
        if turn is None:
            raise InvariantBroken("a row for open turns met none")
        step(draft, turn, given)

    return with_turn


def _nothing(_draft: Draft, _turn: OpenTurn | None, _given: Any) -> None:
    """The input changes nothing here."""


def _arrive(draft: Draft, _turn: OpenTurn | None, given: Allowed) -> None:
    ordering.arrive(draft, given)


def _ended_already(draft: Draft, _turn: OpenTurn | None, given: Allowed) -> None:
    ordering.arrived_late(draft, given)


def _parked_again(draft: Draft, _turn: OpenTurn | None, _given: Allowed) -> None:
    ordering.ask_for_past(draft)


def _complete(draft: Draft, _turn: OpenTurn | None, given: Completed) -> None:
    lifecycle.completed(draft, given)


def _complete_again(draft: Draft, _turn: OpenTurn | None, given: Completed) -> None:
    lifecycle.completed_again(draft, given)


def _note_stop(draft: Draft, _turn: OpenTurn | None, given: StopAsked) -> None:
    if given.turn is not None:
        stopping.note_stop(draft, given.turn)


def _note_return(draft: Draft, _turn: OpenTurn | None, given: Returned) -> None:
    returns.note_return(draft, given.turn, given)


def _returned(draft: Draft, turn: OpenTurn, given: Returned) -> None:
    returns.returned(draft, turn, given)


_again: Final = _open(lambda draft, turn, _given: ordering.repeated_arrival(draft, turn))
_stop: Final = _open(lambda draft, turn, _given: stopping.stop(draft, turn, is_named=True))
_end_again: Final = _open(lambda draft, turn, _given: returns.returned_while_ending(draft, turn))


def _lost(draft: Draft, turn: OpenTurn, given: EndLost) -> None:
    """R8: the turn runs under a number of another life: it ends through `closing`, above the log's highest."""
    close(draft, turn, above=given.dispatch)


def _lost_again(draft: Draft, turn: OpenTurn, given: EndLost) -> None:
    if given.dispatch > turn.dispatch:
        close(draft, turn, above=given.dispatch)
    else:
        draft.say(Dispatch(turn))


TURNS: Final[Mapping[tuple[Standing, type], TurnStep]] = {
    (Standing.UNMET, Allowed): _arrive,
    (Standing.PARKED, Allowed): _parked_again,
    (Standing.WAITING, Allowed): _again,
    (Standing.ACTIVE, Allowed): _again,
    (Standing.ENDING, Allowed): _again,
    (Standing.ENDED, Allowed): _ended_already,  # it was accepted before it could end
    (Standing.UNMET, Refused): _arrive,
    (Standing.PARKED, Refused): _parked_again,
    (Standing.WAITING, Refused): _again,  # the first verdict holds
    (Standing.ACTIVE, Refused): _again,
    (Standing.ENDING, Refused): _again,
    (Standing.ENDED, Refused): _ended_already,
    (Standing.UNMET, Unreadable): _arrive,
    (Standing.PARKED, Unreadable): _parked_again,
    (Standing.WAITING, Unreadable): _again,
    (Standing.ACTIVE, Unreadable): _again,
    (Standing.ENDING, Unreadable): _again,
    (Standing.ENDED, Unreadable): _ended_already,
    (Standing.UNMET, StopAsked): _note_stop,
    (Standing.PARKED, StopAsked): _stop,
    (Standing.WAITING, StopAsked): _stop,
    (Standing.ACTIVE, StopAsked): _stop,
    (Standing.ENDING, StopAsked): _stop,
    (Standing.ENDED, StopAsked): _nothing,
    (Standing.UNMET, Completed): _complete,  # TurnCompleted can overtake TurnAllowed
    (Standing.PARKED, Completed): _complete,
    (Standing.WAITING, Completed): _complete,
    (Standing.ACTIVE, Completed): _complete,
    (Standing.ENDING, Completed): _complete,
    (Standing.ENDED, Completed): _complete_again,
    (Standing.UNMET, Returned): _note_return,
    (Standing.PARKED, Returned): _note_return,
    (Standing.WAITING, Returned): _note_return,
    (Standing.ACTIVE, Returned): _open(_returned),
    (Standing.ENDING, Returned): _end_again,
    (Standing.ENDED, Returned): _nothing,
    (Standing.UNMET, EndLost): _nothing,
    (Standing.PARKED, EndLost): _nothing,
    (Standing.WAITING, EndLost): _nothing,
    (Standing.ACTIVE, EndLost): _open(_lost_again),
    (Standing.ENDING, EndLost): _open(_lost),
    (Standing.ENDED, EndLost): _nothing,
}
"""What an input does to the turn it names: one row for every pair."""

TICKS: Final[Mapping[Status, Callable[[Draft, OpenTurn], None]]] = {
    Status.PARKED: deadlines.parked_past_deadline,
    Status.WAITING: deadlines.waiting_past_deadline,
    Status.ACTIVE: deadlines.active_past_deadline,
    Status.ENDING: deadlines.ending_is_slow,
}
"""What time does to an open turn."""

CONVERSATIONS: Final[Mapping[type, ConversationStep]] = {
    ResetAsked: lifecycle.reset,
    DeleteAsked: lifecycle.delete,
    Loaded: lifecycle.loaded,
    Announced: lifecycle.announced,
    Ticked: lambda draft, _given: _tick(draft),
    StopAsked: stopping.stop_whoever,
    LogClosed: retiring.closed,
    LogDeleted: retiring.deleted,
}
"""What an input does to the conversation; the steps tell the phases apart."""


def reduce(conversation: ConversationId, before: State | None, given: Input, facts: Facts) -> Outcome:
    """Move one conversation by one input.

    Args:
        before: None when the table has nothing of it; not modified.
        facts: the moment; its `plan` is asked only for the first open turn.

    Returns:
        The state that must be safe before the effects are carried out, in order.

    Raises:
        InvariantBroken: the table has no row for this state and input.
    """
    draft = Draft(before or fresh(conversation), facts)
    named: TurnId | None = getattr(given, "turn", None)
    if named is None:
        _row(CONVERSATIONS, type(given))(draft, given)
    else:
        _row(TURNS, (standing(draft, named, given), type(given)))(draft, draft.turns.get(named), given)
    if not draft.is_forgotten:
        retiring.close_again(draft)
        ordering.promote(draft)
        deadlines.prune(draft)
    return Outcome(draft.freeze(), tuple(_in_order(draft)))


def standing(draft: Draft, turn: TurnId, given: Input) -> Standing:
    """Where the turn stands. Beyond its own memory the context table knows more, though never sooner."""
    found = draft.turns.get(turn)
    if found is not None:
        return _STANDINGS[found.status]
    if any(each.turn == turn for each in draft.ended):
        return Standing.ENDED
    if not isinstance(given, Completed) and draft.facts.has_ended(turn):
        return Standing.ENDED
    return Standing.UNMET


def _in_order(draft: Draft) -> Iterator[Effect]:
    """The effects, with `turn.accepted` before anything that may follow it in the log, and in the order of acceptance.

    A crash may have lost the effects of an earlier input whose state is safe, and its repeat may come behind this one,
    from another topic: so whoever this life of the gate has not accepted in the log yet is accepted first, also before
    a reset: readers drop what is accepted below an order that they have seen.
    """
    said = set[TurnId]()
    for effect in draft.effects:
        order = effect.order if isinstance(effect, AppendReset) else None
        if isinstance(effect, Dispatch | EndTurn | AppendAccepted):
            order = effect.turn.order
        if order is not None:
            for other in draft.turns.values():
                is_before = other.order < order and other.status is not Status.PARKED
                if is_before and other.turn not in said and not draft.facts.was_said(other.turn):
                    said.add(other.turn)
                    yield AppendAccepted(other)
        if isinstance(effect, Dispatch | EndTurn | AppendAccepted):
            turn = effect.turn.turn
            is_said = turn in said or isinstance(effect, AppendAccepted) or draft.facts.was_said(turn)
            said.add(turn)
            if not is_said:
                yield AppendAccepted(effect.turn)
        yield effect


def _row(table: Mapping[Any, Any], key: Any) -> Any:
    try:
        return table[key]
    except KeyError:
        raise InvariantBroken(f"the gate has no row for {key}") from None


def _tick(draft: Draft) -> None:
    for turn in tuple(draft.turns.values()):
        TICKS[turn.status](draft, turn)
    ordering.tell_in_line(draft)
    deadlines.load_is_slow(draft)
    if not draft.turns and draft.phase is not Phase.LOADING:
        retiring.look(draft)
        deadlines.forget(draft)
