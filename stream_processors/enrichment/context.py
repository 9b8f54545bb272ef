"""What later prompts need of an ended turn, one value a turn; and the chain of parents."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from schemas import codec
from schemas.ids import TurnId
from schemas.records import TurnCompleted
from schemas.topics import MAX_RECORD_BYTES
from schemas.turns import ContextTurn, Message, Reason, Role

# A changelog record stays below the broker's limit: history of the client's own goes before the turn's two texts do.
_MAX_BYTES = MAX_RECORD_BYTES - 100_000
# These ends leave nothing that the model should read: the text was refused, or there is no answer.
_SILENT = (Reason.REFUSED, Reason.WITHHELD, Reason.FAILED, Reason.EXPIRED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextEntry:
    """One value of the context table.

    Args:
        counts: tokens of all its texts, by the model's version: counted once.
    """

    turn: ContextTurn
    counts: Mapping[str, int] = field(default_factory=dict)


def texts(reason: Reason, input_text: str | None, output_text: str | None) -> tuple[Message, ...]:
    """The messages of a turn that ended so: none of one refused or failed, the partial text of a stopped one."""
    if reason in _SILENT or input_text is None:
        return ()
    answer = (Message(Role.ASSISTANT, output_text),) if output_text else ()
    return (Message(Role.USER, input_text), *answer)


def context_turn(turn: TurnCompleted, history: Sequence[Message] = ()) -> ContextTurn:
    """The turn as later prompts see it.

    Args:
        history: what the client gave before its text.
    """
    own = texts(turn.reason, turn.input_text, turn.output_text)
    if turn.turn is None:
        raise ValueError("a TurnCompleted without a turn")
    return ContextTurn(
        turn=turn.turn,
        n=turn.n,
        parent=turn.parent,
        epoch=turn.detail.epoch,
        reason=turn.reason,
        texts=(*history, *own) if own else (),
        log_start=turn.log_start,
        log_end=turn.log_end,
        ended_at=turn.ended_at,
        log=turn.log,
    )


def pack_entry(entry: ContextEntry) -> bytes:
    """The entry's bytes, small enough for a record."""
    packed = codec.encode(entry)
    if len(packed) <= _MAX_BYTES:
        return packed
    own = tuple(message for message in entry.turn.texts[-2:])
    shorter = codec.encode(ContextEntry(turn=replace(entry.turn, texts=own)))
    return shorter if len(shorter) <= _MAX_BYTES else codec.encode(ContextEntry(turn=replace(entry.turn, texts=())))


def unpack_entry(raw: bytes) -> ContextEntry:
    """The entry in these bytes. Raises ContractError."""
    return codec.convert(codec.parse(raw), ContextEntry)


def chain(
    parent: TurnId | None, epoch: int, look_up: Callable[[TurnId], ContextEntry | None]
) -> "Sequence[ContextEntry] | None":
    """The parents that a prompt of this epoch may use, newest first; None: the first of them isn't known.

    It ends at the first turn, where another epoch begins, and where what was loaded ends.
    """
    if parent is None:
        return ()
    found: list[ContextEntry] = []
    wanted: TurnId | None = parent
    met: set[TurnId] = set()
    while wanted is not None and wanted not in met:
        entry = look_up(wanted)
        if entry is None:
            return found or None
        if entry.turn.epoch != epoch:
            break
        found.append(entry)
        met.add(wanted)
        wanted = entry.turn.parent
    return found
