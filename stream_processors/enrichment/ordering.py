"""One order for one conversation: who enters, who waits, who goes next.

Only the first open turn is ever dispatched, and it leaves the front only by a TurnCompleted read from `chat.turns`.
"""

from schemas import instants
from schemas.errors import ErrorCode
from schemas.ids import TurnId
from schemas.turns import LATEST, OnBusy, Reason
from stream_processors.enrichment.draft import Draft, due
from stream_processors.enrichment.effects import (
    AppendAccepted,
    AppendQueued,
    Dispatch,
    LoadContext,
    RequestStop,
)
from stream_processors.enrichment.endings import end, expire, fail
from stream_processors.enrichment.facts import Fits, Unfit, Unloaded
from stream_processors.enrichment.inputs import Allowed, Refused, Unreadable
from stream_processors.enrichment.state import OpenTurn, Phase, Status
from stream_processors.enrichment.stopping import stop

# Clocks of gateway and gate may differ by that much before a forgotten conversation passes for a young one.
_CLOCKS_MS = 60_000
# And those of gateway and worker before a turn's records pass for younger than an end that they precede.
_MARGIN_MS = 5_000
_ENDS = 8


def arrive(draft: Draft, given: Allowed) -> None:
    """A turn that was not met before: it enters the order, or is parked until the past is known."""
    draft.own(given.owner)
    draft.touch()
    draft.order = max(draft.order, given.order)
    turn = OpenTurn(
        turn=given.turn,
        status=Status.PARKED,
        order=given.order,
        deadline_ms=given.deadline_ms,
        accepted_ms=given.accepted_ms,
        parent=given.parent,
        band=given.band,
        on_busy=given.on_busy,
        has_history=given.has_history,
        reason=_verdict(given),
    )
    if draft.phase is Phase.UNKNOWN and _has_no_past(draft, given):
        draft.phase = Phase.KNOWN
        if given.is_new:
            draft.last = None  # what a zombie gate has ended already was asked for behind it
    if draft.phase in (Phase.KNOWN, Phase.DELETED):
        enter(draft, turn)
        return
    is_awaited = any(other.status is Status.PARKED for other in draft.turns.values())
    draft.put(turn)
    if draft.phase is Phase.UNKNOWN or not is_awaited:  # whoever had asked may have died, and nobody else would
        draft.phase = Phase.LOADING
        ask_for_past(draft)


def _verdict(given: Allowed) -> Reason | None:
    if isinstance(given, Unreadable):
        return Reason.FAILED
    return Reason.REFUSED if isinstance(given, Refused) else None


def arrived_late(draft: Draft, given: Allowed) -> None:
    """The turn's end overtook its request, or the request comes again: nothing starts, and its order is taken.

    The end may be known from the context table alone, and its TurnCompleted come later: its place is taken now.
    """
    draft.own(given.owner)
    draft.order = max(draft.order, given.order)
    if draft.phase is Phase.UNKNOWN and _has_no_past(draft, given):
        draft.phase = Phase.KNOWN
    ended = draft.facts.ended(given.turn)
    if ended is not None:
        count_in(draft, ended.turn, n=ended.n, epoch=ended.epoch, parent=ended.parent)
        if ended.log in (None, draft.log):  # an end in a log that was left says nothing of this one
            remember_end(draft, ended.log_end, 0 if ended.ended_at is None else instants.to_ms(ended.ended_at))


def count_in(draft: Draft, turn: TurnId, *, n: int, epoch: int, parent: TurnId | None) -> None:
    """A turn has ended: if it was never met here, another life of the gate has accepted it, and the next comes behind.

    A zombie gate may have ended it before its own parent, which is yet to arrive here and must not follow it in turn.
    """
    if n < draft.next_n:
        return
    draft.next_n = n + 1
    is_parent_over = parent is None or any(each.turn == parent for each in draft.ended) or draft.facts.has_ended(parent)
    if epoch == draft.epoch and is_parent_over:
        draft.last = turn


def _has_no_past(draft: Draft, given: Allowed) -> bool:
    """True when the store has nothing of it: new, never stored, or too young to have been forgotten here."""
    if given.is_new or not given.owner.stored:
        return True
    young_ms = draft.facts.limits.remember_ms - _CLOCKS_MS
    return given.created_ms is not None and draft.facts.now_ms - given.created_ms < young_ms


def ask_for_past(draft: Draft) -> None:
    """The store is asked for the conversation; the clock asks again."""
    draft.load_ms = draft.facts.now_ms
    draft.say(LoadContext(None))


def enter(draft: Draft, turn: OpenTurn) -> None:
    """The turn is accepted: it has its place, its parent and its epoch. It waits, or ends at once with the reason."""
    busy = [other for other in draft.turns.values() if other.turn != turn.turn and other.status is not Status.PARKED]
    parent = turn.parent if turn.parent != LATEST else draft.last
    draft.place = _place(draft, turn)
    accepted = draft.put(
        turn, status=Status.WAITING, n=draft.next_n, parent=parent, epoch=draft.epoch, place=draft.place
    )
    draft.next_n += 1
    last, draft.last = draft.last, accepted.turn
    draft.say(AppendAccepted(accepted))
    note = draft.note(accepted.turn)
    if note is not None and note.is_stopped:
        end(draft, accepted, Reason.CANCELLED)
    elif draft.phase is Phase.DELETED:
        fail(draft, accepted, ErrorCode.NOT_FOUND, "the conversation was deleted")
    elif accepted.reason is Reason.REFUSED:
        end(draft, accepted, Reason.REFUSED)
    elif accepted.reason is Reason.FAILED:
        fail(draft, accepted, ErrorCode.INVALID_REQUEST, "the request could not be read")
    elif accepted.deadline_ms <= draft.facts.now_ms:
        expire(draft, accepted)
    elif busy and accepted.on_busy is OnBusy.REJECT:
        fail(draft, accepted, ErrorCode.CONVERSATION_BUSY, "the conversation has an active turn")
    elif sum(other.status is Status.WAITING for other in busy) >= draft.facts.limits.waiting:
        fail(draft, accepted, ErrorCode.CONVERSATION_BUSY, "too many turns wait in this conversation already")
    elif busy:
        if accepted.on_busy is OnBusy.INTERRUPT:
            for other in busy:
                if other.status is not Status.ENDING:
                    stop(draft, other)
        _queued(draft, accepted, len(busy))
    if draft.turns[accepted.turn].status is Status.ENDING:
        draft.last = last  # it says nothing that a next turn could follow


def _place(draft: Draft, turn: OpenTurn) -> int | None:
    """Where a reader of the turn begins: before all that any life of the gate may have written of it.

    The last end that was written before the turn was asked for: another life may have accepted the turn, and ended it,
    before a younger one. Without such an end where the turn before it begins, since readers take them in their order.
    """
    older = [offset for offset, at_ms in draft.ends if not at_ms or at_ms + _MARGIN_MS <= turn.accepted_ms]
    return older[-1] if older else draft.place


def remember_end(draft: Draft, log_end: int, ended_ms: int) -> None:
    """A turn has ended there: of the ends before, those are kept where a turn that comes may still begin.

    That is the newest which is older than the margin, and the younger ones: in a quick conversation there is always one
    to begin at, and nobody reads it from its beginning.
    """
    if draft.log_end is not None and log_end <= draft.log_end:
        return
    draft.log_end = log_end
    ends = (*draft.ends, (log_end, ended_ms))
    young = tuple(end for end in ends if end[1] + _MARGIN_MS > ended_ms)
    kept = (*ends[: len(ends) - len(young)][-1:], *young)
    draft.ends = kept if len(kept) <= _ENDS else (kept[0], *kept[1 - _ENDS :])


def repeated_arrival(draft: Draft, turn: OpenTurn) -> None:
    """The turn's request again: what the state says is due is said again, and for whom it interrupted."""
    due(draft, turn)
    if turn.on_busy is OnBusy.INTERRUPT:
        for other in draft.turns.values():
            if other.turn == turn.turn:
                break
            if other.status is Status.ENDING:
                due(draft, other)
            elif other.is_stopped and other.status is Status.ACTIVE:
                draft.say(RequestStop(other.turn))


def promote(draft: Draft) -> None:
    """The first open turn is dispatched if it waits and may go. Called at the end of every reduction."""
    head = draft.head
    if head is None or head.status is not Status.WAITING or draft.phase is not Phase.KNOWN:
        return
    facts = draft.facts
    match facts.plan(head):
        case Fits() as plan:
            note = draft.note(head.turn)
            is_told = plan.ahead is not None and facts.now_ms - head.queued_ms >= facts.limits.queued_ms
            sent = draft.put(
                head,
                status=Status.ACTIVE,
                ahead=-1 if plan.ahead is None else plan.ahead if is_told else head.ahead,
                queued_ms=facts.now_ms if is_told else head.queued_ms,
                dispatch=1 + (note.returned if note is not None else 0),
                pool=plan.pool,
                origin=plan.pool,
                deployment=plan.deployment,
                tokens=plan.tokens,
                sent_ms=facts.now_ms,
            )
            draft.drop_note(head.turn)
            if plan.ahead is not None and is_told:
                draft.say(AppendQueued(sent, plan.ahead, plan.eta_s))
            draft.say(Dispatch(sent))
        case Unfit(failure):
            fail(draft, head, failure.code, failure.message)
        case Unloaded(parent) if head.loads == 0:
            if draft.load_ms == 0:
                draft.load_ms = facts.now_ms
                draft.say(LoadContext(parent))
        case Unloaded(parent):
            fail(draft, head, ErrorCode.INVALID_REQUEST, f"{parent} is no turn of this conversation")


def tell_waiting(draft: Draft) -> None:
    """Who waits is told that it moved on, not more often than the limit."""
    for place, turn in enumerate(tuple(draft.turns.values())):
        if turn.status is not Status.WAITING or place in (turn.ahead, 0):
            continue
        if draft.facts.now_ms - turn.queued_ms >= draft.facts.limits.queued_ms:
            _queued(draft, turn, place)


def tell_in_line(draft: Draft) -> None:
    """A dispatched turn that was told of a queue is told when it has moved there, until it should have begun."""
    turn = draft.active
    if turn is None or turn.ahead < 0:
        return
    found = draft.facts.in_line(turn)
    if found is None:
        draft.put(turn, ahead=-1)
    elif found.ahead != turn.ahead and draft.facts.now_ms - turn.queued_ms >= draft.facts.limits.queued_ms:
        told = draft.put(turn, ahead=found.ahead, queued_ms=draft.facts.now_ms)
        draft.say(AppendQueued(told, found.ahead, found.eta_s))


def _queued(draft: Draft, turn: OpenTurn, ahead: int) -> None:
    turn_s = draft.facts.turn_s
    told = draft.put(turn, ahead=ahead, queued_ms=draft.facts.now_ms)
    draft.say(AppendQueued(told, ahead, None if turn_s is None else round(ahead * turn_s, 1)))
