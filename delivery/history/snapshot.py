"""The conversation so far as one value: rows, and what the log holds behind them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from delivery.protocol.events import Logged
from schemas import ids
from schemas.fold import ConversationFold
from schemas.frames import History, HistoryMessage, OpenTurn
from schemas.ids import TurnId
from schemas.records import TurnAccepted, TurnCompleted, TurnDelta, TurnEnded, TurnStarted
from schemas.turns import Verdict

MAX_MESSAGES: Final = 50
MAX_BYTES: Final = 128 * 1024
_ENVELOPE_BYTES: Final = 300  # ids, names and instants of one message


@dataclass(slots=True)
class _Seen:
    """One turn that the log behind the rows tells of."""

    accepted: TurnAccepted
    attempt: int = 0
    seq: int = 0
    texts: list[str] = field(default_factory=list)
    ended: TurnEnded | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a reader without a position gets: `fold` is the rule's state where the live events go on."""

    history: History
    before: str | None
    fold: ConversationFold


class SnapshotFold:
    """Folds the log behind an anchor row into a snapshot.

    Args:
        rows: newest first.
        anchor: the row from whose place the log is folded; turns up to it are told by rows alone.
    """

    def __init__(self, rows: Sequence[TurnCompleted], anchor: TurnCompleted | None) -> None:
        self._rows = rows
        self._anchor_n = 0 if anchor is None else anchor.n
        self._fold = ConversationFold()
        self._seen: dict[TurnId, _Seen] = {}

    def take(self, logged: Logged) -> None:
        """The next record of the conversation."""
        record = logged.record
        # Place 0 tells nothing: the turn ended before its place could be known, be it stored already or not.
        if isinstance(record, TurnAccepted) and 0 < record.n <= self._anchor_n:
            # A repeat of it behind newer ones is dropped by its order, as everywhere; the turn itself has ended.
            self._fold.order = max(self._fold.order, record.order)
            return
        if not self._fold.take(record) or record.turn is None:
            return
        match record:
            case TurnAccepted():
                self._seen[record.turn] = _Seen(record)
            case TurnStarted():
                self._seen[record.turn].attempt = record.attempt or 0
            case TurnDelta():
                turn = self._seen[record.turn]
                turn.seq = record.seq + 1
                if record.channel == "text":
                    turn.texts.append(record.text)
            case TurnEnded():
                self._seen[record.turn].ended = record

    def snapshot(self) -> Snapshot:
        """The conversation so far."""
        stored = {row.turn for row in self._rows}
        for turn in list(self._fold.open_turns):
            if turn in stored:
                del self._fold.open_turns[turn]
        whole = [message for row in reversed(self._rows) for message in _of_row(row)]
        behind = [seen for turn, seen in self._seen.items() if turn not in stored]
        whole += [message for seen in behind if seen.ended is not None for message in _of_log(seen, seen.ended)]
        whole.sort(key=lambda message: message.n)
        shown = _newest(whole)
        lowest_n = min((*(message.n for message in whole[:1]), *(seen.accepted.n for seen in behind)), default=1)
        is_cut = len(shown) < len(whole) or lowest_n > 1
        return Snapshot(
            History(messages=tuple(shown), open_turns=tuple(_open(seen) for seen in behind if seen.ended is None)),
            shown[0].item if shown and is_cut else None,
            self._fold,
        )


def _newest(messages: list[HistoryMessage]) -> list[HistoryMessage]:
    room = MAX_BYTES
    first = len(messages)
    while first > 0 and len(messages) - first < MAX_MESSAGES:
        message = messages[first - 1]
        room -= _ENVELOPE_BYTES + len(message.text.encode()) + len((message.refusal or "").encode())
        if room < 0:
            break
        first -= 1
    return messages[first:]


def _of_row(row: TurnCompleted) -> tuple[HistoryMessage, ...]:
    if row.turn is None or row.input_text is None:
        return ()
    return _messages(row, row.turn, row.input_text, row.output_text or "")


def _of_log(seen: _Seen, ended: TurnEnded) -> tuple[HistoryMessage, ...]:
    turn = seen.accepted.turn
    return () if turn is None else _messages(ended, turn, seen.accepted.text, "".join(seen.texts))


def _messages(end: TurnCompleted | TurnEnded, turn: TurnId, asked: str, answered: str) -> tuple[HistoryMessage, ...]:
    asking = HistoryMessage(
        item=ids.input_item_id(turn), turn=turn, n=end.n, role="user", text=asked, at=end.accepted_at, parent=end.parent
    )
    answering = HistoryMessage(
        item=ids.output_item_id(turn),
        turn=turn,
        n=end.n,
        role="assistant",
        text=answered,
        at=end.at,
        reason=end.reason.value,
        parent=end.parent,
        refusal=end.detail.refusal or _sentence(end.interventions),
    )
    return asking, answering


def _sentence(verdicts: Sequence[Verdict]) -> str | None:
    return next((verdict.sentence for verdict in reversed(verdicts) if verdict.sentence), None)


def _open(seen: _Seen) -> OpenTurn:
    accepted = seen.accepted
    return OpenTurn(
        turn=str(accepted.turn),
        n=accepted.n,
        parent=accepted.parent,
        text=accepted.text,
        user=accepted.user,
        at=accepted.at,
        attempt=seen.attempt,
        seq=seen.seq,
        answer="".join(seen.texts),
    )
