"""A state as the bytes of its changelog record and back: lists in place of objects, own digits in place of turn ids."""

from typing import Any, Final

from schemas import codec, ids
from schemas.errors import ErrorCode, InvariantBroken
from schemas.ids import ConversationId, TurnId
from schemas.turns import LogAddress, OnBusy, Reason
from stream_processors.enrichment.state import Ended, Note, OpenTurn, Phase, Reset, Retirement, State, Status

_FORM: Final = 1
# Of a state; older values end there, or at the second number.
_FIRST_COLUMNS: Final = 20
_SECOND_COLUMNS: Final = 22
# What open turns have had only since values were first written; older values end earlier.
_FIRST_FIELDS: Final = 23
_LATER_FIELDS: Final = (0, 0, None, False, 0)
_OWN: Final = 37  # `resp_` and the conversation's 32 digits stand before a turn's own


def pack(state: State) -> bytes:
    """The state's bytes without its stamp."""
    log = None if state.log is None else [state.log.topic, state.log.partition]
    return codec.encode(
        [
            _FORM,
            state.tenant,
            state.user,
            log,
            state.stored,
            state.phase,
            state.next_n,
            state.epoch,
            _own(state.last),
            state.order,
            state.log_end,
            [_packed_turn(turn) for turn in state.turns],
            [[turn.turn[_OWN:], turn.at_ms] for turn in state.ended],
            [[note.turn[_OWN:], note.at_ms, note.is_stopped, note.returned] for note in state.notes],
            [[reset.order, reset.epoch] for reset in state.resets],
            state.load_ms,
            state.echo,
            state.touched_ms,
            state.deleted_ms,
            state.stop_offset,
            [list(end) for end in state.ends],
            state.place,
            state.retirement,
            state.closed_ms,
            state.announced_offset,
        ]
    )


def unpack(conversation: ConversationId, raw: bytes) -> State:
    """The state in these bytes. Raises InvariantBroken."""
    row: list[Any] = codec.parse(raw)
    if row[0] != _FORM:
        raise InvariantBroken(f"a state of form {row[0]}: written by a later program")
    return State(
        conversation=conversation,
        tenant=row[1],
        user=row[2],
        log=None if row[3] is None else LogAddress(*row[3]),
        stored=row[4],
        phase=Phase(row[5]),
        next_n=row[6],
        epoch=row[7],
        last=None if row[8] is None else ids.turn_id(conversation, row[8]),
        order=row[9],
        log_end=row[10],
        turns=tuple(_turn(conversation, turn) for turn in row[11]),
        ended=tuple(Ended(ids.turn_id(conversation, own), at_ms) for own, at_ms in row[12]),
        notes=tuple(Note(ids.turn_id(conversation, own), *rest) for own, *rest in row[13]),
        resets=tuple(Reset(order, epoch) for order, epoch in row[14]),
        load_ms=row[15],
        echo=row[16],
        touched_ms=row[17],
        deleted_ms=row[18],
        stop_offset=row[19],
        ends=_ends(row),
        place=row[21] if len(row) > _FIRST_COLUMNS else row[10],
        retirement=Retirement(row[22]) if len(row) > _SECOND_COLUMNS else Retirement.NONE,
        closed_ms=row[23] if len(row) > _SECOND_COLUMNS else 0,
        announced_offset=row[24] if len(row) > _SECOND_COLUMNS else -1,
    )


def _ends(row: list[Any]) -> tuple[tuple[int, int], ...]:
    if len(row) > _FIRST_COLUMNS:
        return tuple((offset, at_ms) for offset, at_ms in row[20])
    return () if row[10] is None else ((row[10], 0),)


def has_open_turns(raw: bytes) -> bool:
    """Whether the state in these bytes has any, without making it."""
    return bool(codec.parse(raw)[11])


def _own(turn: TurnId | None) -> str | None:
    return None if turn is None else turn[_OWN:]


def _packed_turn(turn: OpenTurn) -> list[Any]:
    return [
        turn.turn[_OWN:],
        turn.status,
        turn.order,
        turn.deadline_ms,
        turn.n,
        turn.parent,
        turn.epoch,
        turn.place,
        turn.band,
        turn.tokens,
        turn.dispatch,
        turn.pool,
        turn.deployment,
        turn.sent_ms,
        turn.is_stopped,
        turn.on_busy,
        turn.has_history,
        turn.reason,
        turn.code,
        turn.message,
        turn.loads,
        turn.ahead,
        turn.queued_ms,
        turn.failures,
        turn.discarded_tokens,
        turn.origin,
        turn.is_degraded,
        turn.accepted_ms,
    ]


def _turn(conversation: ConversationId, row: list[Any]) -> OpenTurn:
    row = [*row, *_LATER_FIELDS[len(row) - _FIRST_FIELDS :]]
    return OpenTurn(
        turn=ids.turn_id(conversation, row[0]),
        status=Status(row[1]),
        order=row[2],
        deadline_ms=row[3],
        n=row[4],
        parent=row[5],
        epoch=row[6],
        place=row[7],
        band=row[8],
        tokens=row[9],
        dispatch=row[10],
        pool=row[11],
        deployment=row[12],
        sent_ms=row[13],
        is_stopped=row[14],
        on_busy=OnBusy(row[15]),
        has_history=row[16],
        reason=None if row[17] is None else Reason(row[17]),
        code=None if row[18] is None else ErrorCode(row[18]),
        message=row[19],
        loads=row[20],
        ahead=row[21],
        queued_ms=row[22],
        failures=row[23],
        discarded_tokens=row[24],
        origin=row[25],
        is_degraded=row[26],
        accepted_ms=row[27],
    )
