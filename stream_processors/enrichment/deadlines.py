"""What time does to a conversation, and when it next wants to be asked (`due_ms`)."""

from schemas.ids import TurnId
from schemas.topics import CLOSING_POOL
from schemas.turns import LATEST
from stream_processors.enrichment import retiring
from stream_processors.enrichment.draft import Draft
from stream_processors.enrichment.effects import AppendAccepted, EndTurn, ForgetContext, LoadContext
from stream_processors.enrichment.endings import close, expire
from stream_processors.enrichment.facts import Limits
from stream_processors.enrichment.state import OpenTurn, Phase, State, Status


def waiting_past_deadline(draft: Draft, turn: OpenTurn) -> None:
    """A turn that waits past its deadline ends as expired by the gate."""
    if turn.deadline_ms <= draft.facts.now_ms:
        expire(draft, turn)


def parked_past_deadline(draft: Draft, turn: OpenTurn) -> None:
    """The store is away too long: the turn ends visibly, with n 0, since nobody knows its place.

    Not before those that came before it: readers drop what is accepted out of order.
    """
    first = next(each for each in draft.turns.values() if each.status is Status.PARKED)
    if turn.deadline_ms <= draft.facts.now_ms and turn.turn == first.turn:
        accepted = draft.put(turn, n=0, parent=None if turn.parent == LATEST else turn.parent)
        draft.say(AppendAccepted(accepted))
        expire(draft, accepted)


def active_past_deadline(draft: Draft, turn: OpenTurn) -> None:
    """No worker lives: `closing` ends it. A worker lives and the turn is silent 30 s longer: `closing` as well."""
    now_ms, grace_ms = draft.facts.now_ms, draft.facts.limits.grace_ms
    if now_ms < turn.deadline_ms:
        return
    is_closing = turn.pool == CLOSING_POOL
    is_abandoned = not is_closing and turn.pool is not None and not draft.facts.is_alive(turn.pool)
    if is_abandoned or now_ms >= max(turn.deadline_ms, turn.sent_ms) + grace_ms:
        close(draft, turn)


def ending_is_slow(draft: Draft, turn: OpenTurn) -> None:
    """The gate's end was appended long ago and no TurnCompleted came back: say it again."""
    if draft.facts.now_ms >= turn.sent_ms + draft.facts.limits.grace_ms:
        again = draft.put(turn, sent_ms=draft.facts.now_ms)
        draft.say(EndTurn(again))


def load_is_slow(draft: Draft) -> None:
    """The store was asked long ago: ask again."""
    if draft.load_ms and draft.facts.now_ms >= draft.load_ms + draft.facts.limits.reload_ms:
        draft.load_ms = draft.facts.now_ms
        head = draft.head
        is_known = draft.phase is Phase.KNOWN and head is not None and head.parent not in (None, LATEST)
        parent = head.parent if is_known and head is not None else None
        draft.say(LoadContext(None if parent is None else TurnId(parent)))


def forget(draft: Draft) -> None:
    """An idle conversation whose last turn is stored is dropped: the store knows it, and the loader brings it back."""
    if draft.facts.now_ms < _idle_until(draft.before, draft.facts.limits) or draft.turns:
        return
    if retiring.is_under_way(draft):
        return
    if draft.stored and draft.facts.passed.turns <= draft.echo:
        return
    draft.is_forgotten = True
    draft.say(ForgetContext())


def prune(draft: Draft) -> None:
    """Old memories go: ended turns after an hour, notes after the longest deadline, the oldest of too many first."""
    limits, now_ms = draft.facts.limits, draft.facts.now_ms
    if draft.ended and (len(draft.ended) > limits.remembered or draft.ended[0].at_ms + limits.remember_ms <= now_ms):
        kept = tuple(each for each in draft.ended if each.at_ms + limits.remember_ms > now_ms)
        draft.ended = kept[-limits.remembered :]
    if draft.notes and draft.notes[0].at_ms + limits.note_ms <= now_ms:
        draft.notes = tuple(note for note in draft.notes if note.at_ms + limits.note_ms > now_ms)


def due_ms(state: State, limits: Limits, now_ms: int) -> int:
    """When the conversation next wants a tick; never 0."""
    wanted = [_turn_due(turn, limits, now_ms) for turn in state.turns]
    if state.load_ms:
        wanted.append(state.load_ms + limits.reload_ms)
    if wanted:
        return min(wanted)
    retires_ms = retiring.due_ms(state, limits)
    idle_ms = _idle_until(state, limits)
    return max(idle_ms if retires_ms is None else min(idle_ms, retires_ms), now_ms + limits.again_ms)


def _turn_due(turn: OpenTurn, limits: Limits, now_ms: int) -> int:
    match turn.status:
        case Status.PARKED | Status.WAITING:
            return turn.deadline_ms
        case Status.ENDING:
            return turn.sent_ms + limits.grace_ms
        case Status.ACTIVE:
            if now_ms < turn.deadline_ms:
                return turn.deadline_ms if turn.ahead < 0 else min(turn.deadline_ms, now_ms + limits.queued_ms)
            return max(turn.deadline_ms, turn.sent_ms) + limits.grace_ms


def _idle_until(state: State, limits: Limits) -> int:
    until = state.touched_ms + limits.remember_ms
    if state.closed_ms and not state.touched_ms:
        # Its first turn may still come, with the address of the topic that is gone: not later than a deadline.
        until = state.closed_ms + limits.note_ms
    return max([until, *(note.at_ms + limits.note_ms for note in state.notes)])
