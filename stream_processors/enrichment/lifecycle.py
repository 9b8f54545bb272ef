"""The conversation as a whole: its past arrives, it is reset, deleted, and its turns end."""

from schemas.errors import ErrorCode
from schemas.turns import Reason
from stream_processors.enrichment import retiring
from stream_processors.enrichment.draft import Draft, due
from stream_processors.enrichment.effects import (
    AnnounceDeleted,
    AppendReset,
    ForgetContext,
    KeepContext,
    KeepLoaded,
    RequestStop,
)
from stream_processors.enrichment.endings import end, fail
from stream_processors.enrichment.inputs import Announced, Completed, DeleteAsked, Loaded, ResetAsked
from stream_processors.enrichment.ordering import ask_for_past, count_in, enter, remember_end, tell_waiting
from stream_processors.enrichment.state import Ended, OpenTurn, Phase, Reset, Status
from stream_processors.enrichment.stopping import stop


def completed(draft: Draft, given: Completed) -> None:
    """A turn has ended: it leaves the order, and is part of the context if its epoch still holds."""
    draft.own(given.owner)
    draft.turns.pop(given.turn, None)
    draft.drop_note(given.turn)
    draft.ended = (*draft.ended, Ended(given.turn, draft.facts.now_ms))
    draft.epoch = max(draft.epoch, given.epoch)
    count_in(draft, given.turn, n=given.n, epoch=given.epoch, parent=given.parent)
    draft.echo = max(draft.echo, given.offset)
    if given.owner.log == draft.log:  # an end in a log that was left says nothing of this one
        remember_end(draft, given.log_end, given.ended_ms)
    draft.touch()
    if draft.phase is Phase.DELETED:
        _announce_if_empty(draft)
        return
    if draft.stored:
        draft.say(KeepContext(given.turn))
    tell_waiting(draft)


def completed_again(draft: Draft, given: Completed) -> None:
    """The same end again: what it set going may be lost, so all that is due is said again."""
    draft.echo = max(draft.echo, given.offset)
    if draft.stored and draft.phase is not Phase.DELETED:
        draft.say(KeepContext(given.turn))
    for turn in draft.turns.values():
        due(draft, turn)
    if draft.phase is Phase.DELETED:
        _announce_if_empty(draft)


def loaded(draft: Draft, given: Loaded) -> None:
    """The past is known: what was parked enters, in order, resets among the turns."""
    if draft.phase is Phase.UNKNOWN:
        return  # nobody waits for it any more
    head = draft.head
    is_waited_for = head is not None and head.status is Status.WAITING and head.parent != given.parent
    if draft.phase is Phase.LOADING or not is_waited_for:
        draft.load_ms = 0
    if draft.phase is not Phase.LOADING:
        if not given.is_deleted and draft.phase is not Phase.DELETED:
            draft.say(KeepLoaded())
        _load_repeated(draft, given)
        return
    draft.phase = Phase.DELETED if given.is_deleted else Phase.KNOWN
    draft.epoch = max(draft.epoch, given.epoch)
    # A zombie may have given a place to a turn that ends here without one. A gap costs a reader a longer look, and two
    # turns in one place hide the second.
    placeless = sum(turn.n == 0 and turn.status is Status.ENDING for turn in draft.turns.values())
    if given.next_n >= draft.next_n:
        draft.next_n, draft.last = given.next_n + placeless, given.last
    elif draft.last is None:
        draft.last = given.last  # the store is behind an end that can't be followed
    if given.is_retired or given.is_deleted:
        retiring.retired_before(draft)
    if given.log_end is not None and given.log in (None, draft.log):
        remember_end(draft, given.log_end, given.ended_ms)
    if given.is_deleted:
        draft.deleted_ms = draft.deleted_ms or draft.facts.now_ms
    else:
        draft.say(KeepLoaded())
    _unpark(draft)


def _load_repeated(draft: Draft, given: Loaded) -> None:
    head = draft.head
    if given.parent is not None:
        if head is not None and head.status is Status.WAITING and head.parent == given.parent:
            draft.put(head, loads=head.loads + 1)
        return
    for each in draft.resets:
        if each.epoch is not None:
            draft.say(AppendReset(each.order, each.epoch))
    for turn in draft.turns.values():
        due(draft, turn)


def _unpark(draft: Draft) -> None:
    parked = [turn for turn in draft.turns.values() if turn.status is Status.PARKED]
    pending = [reset for reset in draft.resets if reset.epoch is None]
    both: list[OpenTurn | Reset] = [*parked, *pending]
    for each in sorted(both, key=_order):
        if isinstance(each, Reset):
            _begin_anew(draft, each.order)
            continue
        del draft.turns[each.turn]  # it enters behind those that entered before it
        if draft.facts.has_ended(each.turn):
            # Another life of the gate has seen it through, and the store knew before this one.
            draft.ended = (*draft.ended, Ended(each.turn, draft.facts.now_ms))
            continue
        if each.is_stopped and draft.note(each.turn) is None:
            _enter_stopped(draft, each)
        else:
            enter(draft, each)


def _order(each: OpenTurn | Reset) -> int:
    return each.order


def _enter_stopped(draft: Draft, turn: OpenTurn) -> None:
    last = draft.last
    enter(draft, turn)
    accepted = draft.turns[turn.turn]
    if accepted.status is Status.WAITING:
        end(draft, accepted, Reason.CANCELLED)
        draft.last = last


def reset(draft: Draft, given: ResetAsked) -> None:
    """A new context epoch begins at once; a repeat says the epoch that began then."""
    draft.own(given.owner)
    if given.order <= draft.order:
        for each in draft.resets:
            if each.order == given.order and each.epoch is not None:
                draft.say(AppendReset(each.order, each.epoch))
        return
    draft.order = given.order
    draft.touch()
    if draft.phase is Phase.DELETED:
        return
    if draft.phase is not Phase.KNOWN:
        draft.resets = (*draft.resets, Reset(given.order, None))
        if draft.phase is Phase.UNKNOWN:
            draft.phase = Phase.LOADING
            ask_for_past(draft)
        return
    _begin_anew(draft, given.order)


def _begin_anew(draft: Draft, order: int) -> None:
    draft.epoch += 1
    draft.last = None
    others = tuple(each for each in draft.resets if each.order != order)
    draft.resets = (*others, Reset(order, draft.epoch))[-draft.facts.limits.resets :]
    draft.say(AppendReset(order, draft.epoch))


def delete(draft: Draft, given: DeleteAsked) -> None:
    """The active turn is stopped, the others end cancelled; when none is open the deletion is announced."""
    draft.own(given.owner)
    draft.order = max(draft.order, given.order)
    if draft.phase is Phase.DELETED:
        for turn in draft.turns.values():
            due(draft, turn)
            if turn.status is Status.ACTIVE:
                draft.say(RequestStop(turn.turn))
        _announce_if_empty(draft)
        return
    if draft.phase is Phase.LOADING:
        _unpark(draft)
    draft.phase = Phase.DELETED
    draft.deleted_ms = draft.facts.now_ms
    draft.load_ms = 0
    draft.touch()
    for turn in tuple(draft.turns.values()):
        if turn.status is not Status.ENDING:
            stop(draft, turn)
    _announce_if_empty(draft)


def refuse_deleted(draft: Draft, turn: OpenTurn) -> None:
    """A turn of a deleted conversation ends as failed."""
    fail(draft, turn, ErrorCode.NOT_FOUND, "the conversation was deleted")


def announced(draft: Draft, given: Announced) -> None:
    """The store is yet to read this far before the conversation may be forgotten."""
    draft.echo = max(draft.echo, given.offset)


def _announce_if_empty(draft: Draft) -> None:
    if not draft.turns:
        # Above every turn's own time: the later of the wish and the last end.
        draft.deleted_ms = max(draft.deleted_ms, draft.touched_ms)
        draft.say(ForgetContext(), AnnounceDeleted(draft.deleted_ms))
