"""TurnReturned: a turn is dispatched again under the next number; an old number changes nothing.

A turn that its engine failed goes to another worker. One that failed too often falls back: to another pool, then to a
sentence, both only while nothing of an answer has been shown; else it ends as failed, through `closing`.
"""

from dataclasses import replace

from schemas.errors import ErrorCode
from schemas.ids import TurnId
from schemas.turns import Reason
from stream_processors.enrichment.draft import Draft
from stream_processors.enrichment.effects import Dispatch, EndTurn
from stream_processors.enrichment.endings import close
from stream_processors.enrichment.facts import Fits, Spoken
from stream_processors.enrichment.inputs import Returned
from stream_processors.enrichment.state import Note, OpenTurn


def returned(draft: Draft, turn: OpenTurn, given: Returned) -> None:
    """The active turn goes out again, to its pool, to its fallback, or to `closing` when it is to end."""
    if given.dispatch < turn.dispatch:
        if given.dispatch == turn.dispatch - 1 and given.offset <= draft.before.echo:
            # This very return again: its dispatch may be lost.
            draft.say(Dispatch(turn, given.worker if given.failures else None))
        return
    draft.echo = max(draft.echo, given.offset)
    has_failed = given.failures > turn.failures
    known = replace(
        turn,
        failures=max(turn.failures, given.failures),
        discarded_tokens=max(turn.discarded_tokens, given.discarded_tokens),
    )
    if turn.is_stopped or turn.reason is not None or turn.deadline_ms <= draft.facts.now_ms:
        close(draft, known, above=given.dispatch)
    elif has_failed and known.failures >= draft.facts.attempts(turn):
        _give_up(draft, known, given)
    else:
        sent = draft.put(known, dispatch=given.dispatch + 1, sent_ms=draft.facts.now_ms)
        draft.say(Dispatch(sent, given.worker if has_failed else None))


def _give_up(draft: Draft, turn: OpenTurn, given: Returned) -> None:
    """The pool has failed the turn as often as its tier allows. Two models' texts are never joined."""
    fallback = None if given.is_shown else draft.facts.fallback(turn)
    if isinstance(fallback, Fits):
        sent = draft.put(
            turn,
            dispatch=given.dispatch + 1,
            pool=fallback.pool,
            deployment=fallback.deployment,
            tokens=fallback.tokens,
            ahead=-1,
            failures=0,
            is_degraded=True,
            sent_ms=draft.facts.now_ms,
        )
        draft.say(Dispatch(sent))
        return
    failed = replace(
        turn,
        reason=Reason.FAILED,
        code=ErrorCode.ENGINE_FAILED,
        message=f"the model failed to answer, {turn.failures} times in a row",
        is_degraded=turn.is_degraded or isinstance(fallback, Spoken),
    )
    close(draft, failed, above=given.dispatch)


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
