"""Records to inputs: what the gate reads on its three topics, and which conversation it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from schemas import codec, ids, instants, topics
from schemas.errors import ContractError
from schemas.ids import ConversationId
from schemas.records import (
    ClockTicked,
    ContextLoaded,
    ConversationDeleted,
    ConversationReset,
    Record,
    TurnAllowed,
    TurnCompleted,
    TurnRefused,
    TurnReturned,
    TurnStopRequested,
)
from schemas.turns import Action, ContextTurn, LogAddress, Stage, TurnRequest, Verdict
from stream_processors.enrichment.inputs import (
    Allowed,
    Announced,
    Completed,
    DeleteAsked,
    Input,
    Loaded,
    Owner,
    Refused,
    ResetAsked,
    Returned,
    StopAsked,
    Unreadable,
)

CLOCK_KEY: Final = "clock"


@dataclass(frozen=True, slots=True)
class Addressed:
    """An input and its conversation."""

    conversation: ConversationId
    given: Input


def read(topic: str, offset: int, record: Record, band_of: Mapping[str, int]) -> Addressed | None:
    """The input that a record on one of the gate's topics is; None: it concerns no conversation, or not the gate.

    Args:
        topic: without the prefix.
        band_of: priority by tier; a tier without one has 0.

    Raises:
        ContractError: a field that this record must have is missing.
    """
    if isinstance(record, ClockTicked):
        return None
    if record.conversation is None:
        raise ContractError("expected a conversation", place="$.conversation")
    given = _given(topic, offset, record, band_of)
    return None if given is None else Addressed(record.conversation, given)


def _given(topic: str, offset: int, record: Record, band_of: Mapping[str, int]) -> Input | None:
    match record:
        case TurnAllowed() | TurnRefused():
            return _arrival(offset, record, band_of)
        case ConversationReset() | ConversationDeleted() if topic == topics.TURNS:
            return Announced(offset=offset)
        case ConversationReset():
            return ResetAsked(owner=Owner(tenant=record.tenant, user=record.user, log=record.log), order=offset)
        case ConversationDeleted():
            return DeleteAsked(owner=Owner(tenant=record.tenant, user=record.user, log=record.log), order=offset)
        case TurnStopRequested():
            return StopAsked(turn=record.turn, offset=offset)
        case ContextLoaded():
            return _loaded(record)
        case TurnCompleted():
            return _completed(offset, record)
        case TurnReturned():
            return Returned(
                turn=_turn(record),
                dispatch=record.dispatch,
                offset=offset,
                failures=record.failures,
                is_shown=record.shown,
                worker=record.worker,
                discarded_tokens=record.discarded_tokens,
            )
        case _:
            return None


def salvaged(raw: bytes) -> TurnAllowed | None:
    """What can still be read of a request that breaks the contract; None when not even its turn and log can."""
    try:
        value = codec.parse(raw)
        asked, conversation = value["request"], ids.parse_conversation(value["conversation"])
        turn, log = ids.parse_turn(value["turn"]), codec.convert(asked["log"], LogAddress)
        at = str(value["at"])
        instants.to_ms(at)
        if ids.conversation_of(turn) != conversation:
            return None
    except (ContractError, KeyError, TypeError):
        return None
    request = TurnRequest(
        user=str(asked.get("user")),
        key_id=str(asked.get("key_id")),
        tier=str(asked.get("tier")),
        text=str(asked.get("text") or ""),
        log=log,
        accepted_at=at,
        deadline_at=at,
        new=bool(asked.get("new")),
        stored=asked.get("stored") is not False,
    )
    return TurnAllowed(
        id=f"{turn}.moderated",
        at=at,
        tenant=str(value.get("tenant")),
        conversation=conversation,
        turn=turn,
        request=request,
        verdict=Verdict(stage=Stage.INPUT, action=Action.ALLOW),
    )


def unreadable(offset: int, record: TurnAllowed) -> Addressed:
    """The input that a salvaged request is."""
    given = _arrival(offset, record, {}, Unreadable)
    return Addressed(ids.conversation_of(given.turn), given)


def _arrival(
    offset: int, record: TurnAllowed | TurnRefused, band_of: Mapping[str, int], kind: type[Allowed] | None = None
) -> Allowed:
    asked = record.request
    turn = _turn(record)
    if ids.conversation_of(turn) != record.conversation:
        raise ContractError("the turn belongs to another conversation", place="$.turn")
    return (kind or (Refused if isinstance(record, TurnRefused) else Allowed))(
        turn=turn,
        owner=Owner(tenant=record.tenant, user=asked.user, log=asked.log, stored=asked.stored),
        order=offset,
        is_new=asked.new,
        deadline_ms=instants.to_ms(asked.deadline_at),
        accepted_ms=instants.to_ms(asked.accepted_at),
        parent=asked.parent,
        on_busy=asked.on_busy,
        band=band_of.get(asked.tier, 0),
        has_history=bool(asked.history),
        created_ms=None if asked.created_at is None else instants.to_ms(asked.created_at),
    )


def _completed(offset: int, record: TurnCompleted) -> Completed:
    return Completed(
        turn=_turn(record),
        owner=Owner(tenant=record.tenant, user=record.user, log=record.log, stored=record.stored),
        n=record.n,
        epoch=record.detail.epoch,
        reason=record.reason,
        log_end=record.log_end,
        offset=offset,
        ended_ms=instants.to_ms(record.ended_at),
        parent=record.parent,
    )


def _may_be_followed(turn: ContextTurn, stored: Sequence[ContextTurn]) -> bool:
    """False where its own parent has no row: another life of the gate ended it first, and the parent is yet to come."""
    is_whole = min(each.n for each in stored) <= 1
    return turn.parent is None or not is_whole or any(each.turn == turn.parent for each in stored)


def _loaded(record: ContextLoaded) -> Loaded:
    newest = max(record.turns, key=lambda turn: turn.n, default=None)
    present = [turn for turn in record.turns if turn.epoch == record.epoch and _may_be_followed(turn, record.turns)]
    last: ContextTurn | None = max(present, key=lambda turn: turn.n, default=None)
    here = [] if newest is None else [turn for turn in record.turns if turn.log == newest.log]
    last_ended = max(here, key=lambda turn: turn.log_end, default=None)
    return Loaded(
        next_n=max(record.next_n, 1 if newest is None else newest.n + 1),
        epoch=record.epoch,
        last=None if last is None else last.turn,
        log_end=None if last_ended is None else last_ended.log_end,
        ended_ms=0 if last_ended is None or last_ended.ended_at is None else instants.to_ms(last_ended.ended_at),
        log=None if last_ended is None else last_ended.log,
        is_deleted=record.deleted,
        is_retired=record.retired,
        parent=record.turn,
    )


def _turn(record: Record) -> ids.TurnId:
    if record.turn is None:
        raise ContractError("expected a turn", place="$.turn")
    return record.turn
