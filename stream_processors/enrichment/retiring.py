"""How a conversation leaves its own topic: closed when it is idle and stored, deleted when all have heard.

The lane is the log from the state on that says so, before anybody is told: whatever comes meanwhile is answered there.
Every step is said again until the hands confirm it, so that a crash between any two of them leaves no topic behind.
"""

from schemas import topics
from stream_processors.enrichment.draft import Draft
from stream_processors.enrichment.effects import CloseLog, DeleteLog
from stream_processors.enrichment.facts import Limits
from stream_processors.enrichment.inputs import LogClosed, LogDeleted
from stream_processors.enrichment.ordering import ask_for_past
from stream_processors.enrichment.state import Phase, Retirement, State


def look(draft: Draft) -> None:
    """Time has passed, and no turn is open: the next step is taken if it is due."""
    if draft.retirement is Retirement.NONE and _is_to_be_met(draft):
        _meet(draft)
    elif draft.retirement is Retirement.NONE and _has_own_topic(draft) and _is_idle(draft):
        _leave(draft)
    elif draft.retirement is Retirement.GONE and draft.facts.owner is not None:
        # A gateway that hadn't heard has written over it: the directory is told again, and the topic looked for.
        draft.retirement = Retirement.CLOSING
        draft.say(CloseLog())
    if draft.retirement is Retirement.CLOSED and _have_all_heard(draft):
        draft.say(DeleteLog())


def is_under_way(draft: Draft) -> bool:
    """True while the conversation must not be forgotten: nobody else would take its own topic away."""
    if draft.retirement is Retirement.NONE:
        return _has_own_topic(draft)
    return draft.retirement is not Retirement.GONE


def close_again(draft: Draft) -> None:
    """A close that was decided and isn't confirmed comes before all else that is said: it may have been lost."""
    if draft.before.retirement is Retirement.CLOSING is draft.retirement:
        draft.effects.insert(0, CloseLog())


def closed(draft: Draft, given: LogClosed) -> None:
    """All who read or write the own topic can know: from now on it waits for those who haven't heard."""
    if draft.retirement is Retirement.CLOSING:
        draft.retirement = Retirement.CLOSED
        draft.closed_ms = draft.facts.now_ms
        draft.announced_offset = given.offset


def deleted(draft: Draft, _given: LogDeleted) -> None:
    """Nothing of the own topic is left."""
    if draft.retirement is Retirement.CLOSED:
        draft.retirement = Retirement.GONE


def retired_before(draft: Draft) -> None:
    """The store says that the own topic is no more: the lane is the log, and the topic is taken away once more."""
    if _has_own_topic(draft):
        ride_lane(draft)
        draft.retirement = Retirement.CLOSED
        draft.closed_ms = draft.facts.now_ms


def ride_lane(draft: Draft) -> None:
    """The lane is the log from now on: places in the own topic mean nothing in it."""
    lanes = draft.facts.limits.lanes
    draft.log = topics.address(draft.conversation, retired=True, stored=draft.stored, lanes=lanes)
    draft.log_end, draft.ends, draft.place = None, (), None


def due_ms(state: State, limits: Limits) -> int | None:
    """When an idle conversation's own topic wants to be looked at; None when it has none to lose."""
    match state.retirement:
        case Retirement.NONE if state.log is not None and topics.is_own_topic(state.log):
            if state.phase is Phase.DELETED:
                return state.deleted_ms + limits.linger_ms
            return state.touched_ms + limits.retire_ms
        case Retirement.CLOSING:
            return 0
        case Retirement.CLOSED:
            return state.closed_ms + limits.linger_ms
    return None


def _has_own_topic(draft: Draft) -> bool:
    return draft.log is not None and topics.is_own_topic(draft.log)


def _is_to_be_met(draft: Draft) -> bool:
    """Whether only the directory knows of the own topic, or the past of its conversation isn't known here."""
    if draft.phase is not Phase.UNKNOWN:
        return False
    is_idle = draft.facts.now_ms >= draft.touched_ms + draft.facts.limits.retire_ms
    return is_idle and (_has_own_topic(draft) or draft.facts.owner is not None)


def _meet(draft: Draft) -> None:
    if draft.facts.owner is not None:
        draft.own(draft.facts.owner)
    draft.phase = Phase.LOADING
    ask_for_past(draft)


def _is_idle(draft: Draft) -> bool:
    facts = draft.facts
    if draft.echo >= 0 and facts.passed.turns <= draft.echo:
        return False
    if draft.phase is Phase.DELETED:
        return facts.now_ms >= draft.deleted_ms + facts.limits.linger_ms
    # Another gate may have dispatched a turn that isn't read here yet, into the own topic: in the idle time it is.
    is_long = facts.now_ms >= max(draft.touched_ms, facts.held_ms) + facts.limits.retire_ms
    return draft.phase is Phase.KNOWN and not draft.load_ms and is_long


def _leave(draft: Draft) -> None:
    ride_lane(draft)
    if draft.phase is Phase.DELETED:  # its readers were told by the deletion
        draft.retirement = Retirement.CLOSED
        draft.closed_ms = draft.deleted_ms
        return
    draft.retirement = Retirement.CLOSING
    draft.say(CloseLog())


def _have_all_heard(draft: Draft) -> bool:
    facts = draft.facts
    is_stored = draft.announced_offset < 0 or facts.passed.conversations > draft.announced_offset
    return is_stored and facts.now_ms >= draft.closed_ms + facts.limits.linger_ms
