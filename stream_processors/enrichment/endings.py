"""How the gate ends a turn: by its own hand where it never dispatched it, through `closing` where it did."""

from dataclasses import replace

from schemas.errors import ERRORS, ErrorCode
from schemas.topics import CLOSING_POOL
from schemas.turns import Failure, Reason
from stream_processors.enrichment.draft import Draft
from stream_processors.enrichment.effects import Dispatch, EndTurn
from stream_processors.enrichment.state import OpenTurn, Status


def end(draft: Draft, turn: OpenTurn, reason: Reason, failure: Failure | None = None) -> None:
    """The gate ends a turn that it never dispatched."""
    ending = draft.put(
        turn,
        status=Status.ENDING,
        place=_place(draft, turn),
        reason=reason,
        code=None if failure is None else failure.code,
        message=None if failure is None else failure.message,
        sent_ms=draft.facts.now_ms,
    )
    draft.drop_note(turn.turn)
    draft.say(EndTurn(ending))


def _place(draft: Draft, turn: OpenTurn) -> int | None:
    """Where the turn's row begins: it may end before turns that were accepted earlier, so before those as well."""
    places = [turn.place]
    for other in draft.turns.values():
        if other.order < turn.order and other.n and other.status is not Status.PARKED:
            places.append(other.place)
    known = [place for place in places if place is not None]
    return min(known) if len(known) == len(places) else None


def fail(draft: Draft, turn: OpenTurn, code: ErrorCode, message: str) -> None:
    """The gate ends a turn as failed, with words for the client."""
    end(draft, turn, Reason.FAILED, failure(code, message))


def expire(draft: Draft, turn: OpenTurn) -> None:
    """The gate ends a turn whose deadline has passed."""
    end(draft, turn, Reason.EXPIRED, failure(ErrorCode.DEADLINE, "the deadline passed before the turn could start"))


def failure(code: ErrorCode, message: str) -> Failure:
    """The error with its retriability out of the table of codes."""
    return Failure(code, message, ERRORS[code].retriable)


def close(draft: Draft, turn: OpenTurn, *, above: int = 0) -> None:
    """A dispatched turn goes to the pool that ends without generating, under the next number.

    Args:
        above: a number that may be in the log; the new one is higher.
    """
    closing = replace(
        turn,
        status=Status.ACTIVE,
        dispatch=max(turn.dispatch, above) + 1,
        pool=CLOSING_POOL,
        deployment=CLOSING_POOL,
        sent_ms=draft.facts.now_ms,
        reason=_reason(turn),
    )
    if closing.reason is Reason.EXPIRED and closing.code is None:
        expired = failure(ErrorCode.DEADLINE, "the deadline passed before the turn could end")
        closing = replace(closing, code=expired.code, message=expired.message)
    draft.put(closing)
    draft.say(Dispatch(closing))


def _reason(turn: OpenTurn) -> Reason:
    if turn.reason is not None:
        return turn.reason
    return Reason.CANCELLED if turn.is_stopped else Reason.EXPIRED
