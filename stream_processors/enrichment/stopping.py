"""Stops: of a named turn, of whichever is active, of one that hasn't come. The first `turn.ended` in the log wins."""

from schemas.ids import TurnId
from schemas.turns import Reason
from stream_processors.enrichment.draft import Draft
from stream_processors.enrichment.effects import Dispatch, EndTurn, RequestStop
from stream_processors.enrichment.endings import close, end
from stream_processors.enrichment.inputs import StopAsked
from stream_processors.enrichment.state import Note, OpenTurn, Status


def stop(draft: Draft, turn: OpenTurn, *, is_named: bool = False) -> None:
    """The open turn is to end as cancelled: by the gate if it waits, by its worker if it is dispatched.

    Args:
        is_named: the stop that came names the turn, so the workers have read it already.
    """
    match turn.status:
        case Status.PARKED:
            draft.put(turn, is_stopped=True)
        case Status.WAITING:
            end(draft, turn, Reason.CANCELLED)
        case Status.ACTIVE:
            if not is_named:
                draft.say(RequestStop(turn.turn))
            _stop_active(draft, turn)
        case Status.ENDING:
            draft.say(EndTurn(turn))


def _stop_active(draft: Draft, turn: OpenTurn) -> None:
    if turn.is_stopped:
        if turn.reason is not None:
            draft.say(Dispatch(turn))  # a repeat: it may have been lost on its way to `closing`
        return
    stopped = draft.put(turn, is_stopped=True)
    if turn.pool is not None and turn.reason is None and not draft.facts.is_alive(turn.pool):
        close(draft, stopped)  # nobody is there to read the stop


def stop_whoever(draft: Draft, given: StopAsked) -> None:
    """A stop of the conversation: the active turn, else the first to come; the same one at a repeat."""
    if given.offset <= draft.stop_offset:
        for turn in draft.turns.values():
            if turn.is_stopped or turn.status is Status.ENDING:
                stop(draft, turn)
        return
    draft.stop_offset = given.offset
    target = draft.active or next((turn for turn in draft.turns.values() if turn.status is not Status.ENDING), None)
    if target is not None:
        stop(draft, target)


def note_stop(draft: Draft, turn: TurnId) -> None:
    """A stop of a turn that hasn't come: kept, so that the turn ends when it does."""
    before = draft.note(turn)
    draft.keep_note(
        Note(turn, draft.facts.now_ms, is_stopped=True, returned=0 if before is None else before.returned)
        if before is None or not before.is_stopped
        else before
    )
