"""TurnReturned: an unstarted turn is dispatched again under the next number; an old number changes nothing."""

from schemas.ids import TurnId
from stream_processors.enrichment.draft import Draft
from stream_processors.enrichment.effects import Dispatch, EndTurn
from stream_processors.enrichment.endings import close
from stream_processors.enrichment.inputs import Returned
from stream_processors.enrichment.state import Note, OpenTurn


def returned(draft: Draft, turn: OpenTurn, given: Returned) -> None:
    """The active turn goes out again, to its pool, or to `closing` when it is to end."""
    if given.dispatch < turn.dispatch:
        if given.dispatch == turn.dispatch - 1 and given.offset <= draft.before.echo:
            draft.say(Dispatch(turn))  # this very return again: its dispatch may be lost
        return
    draft.echo = max(draft.echo, given.offset)
    if turn.is_stopped or turn.reason is not None or turn.deadline_ms <= draft.facts.now_ms:
        close(draft, turn, above=given.dispatch)
        return
    draft.say(Dispatch(draft.put(turn, dispatch=given.dispatch + 1, sent_ms=draft.facts.now_ms)))


def returned_while_ending(draft: Draft, turn: OpenTurn) -> None:
    """Another life of the gate had dispatched it: its end is read back again, and shows whether it runs."""
    draft.say(EndTurn(turn))


def note_return(draft: Draft, turn: TurnId, given: Returned) -> None:
    """The turn hasn't come: what is dispatched for it will bear a higher number."""
    before = draft.note(turn)
    number = max(given.dispatch, 0 if before is None else before.returned)
    draft.keep_note(
        Note(turn, draft.facts.now_ms, is_stopped=before is not None and before.is_stopped, returned=number)
    )
