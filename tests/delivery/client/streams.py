"""What delivery sends of a log, for tests of the reader's rule: taken records as plain values, merged at random."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from schemas import codec
from schemas.fold import ConversationFold, Cursor
from schemas.frames import History, HistoryMessage, OpenTurn
from schemas.ids import TurnId
from schemas.records import LogRecord, TurnAccepted, TurnDelta, TurnEnded
from tests.support.logs import TURNS, accepted, delta, ended, queued, reset, started
from tests.support.samples import AT

Events = list[dict[str, Any]]


def once_accepted(log: Sequence[LogRecord]) -> list[LogRecord]:
    """The log with each turn accepted once and each `order` once: what the gate guarantees beside the rule."""
    kept: list[LogRecord] = []
    turns, orders = set(), set()
    for record in log:
        order = getattr(record, "order", None)
        if order in orders or (isinstance(record, TurnAccepted) and record.turn in turns):
            continue
        if order is not None:
            orders.add(order)
        if isinstance(record, TurnAccepted):
            turns.add(record.turn)
        kept.append(record)
    return kept


def taken(log: Sequence[LogRecord]) -> list[LogRecord]:
    """The records that the rule of the log takes."""
    fold = ConversationFold()
    return [record for record in log if fold.take(record)]


def plain(records: Sequence[LogRecord]) -> Events:
    """Records as event frames hold them."""
    values = [codec.parse(codec.encode(record)) for record in records]
    for value in values:
        value.pop("token_ids", None)
    return values


def answers(records: Sequence[LogRecord]) -> dict[str, str]:
    """The text of each accepted turn, from taken records."""
    texts: dict[str, str] = {str(record.turn): "" for record in records if isinstance(record, TurnAccepted)}
    for record in records:
        if isinstance(record, TurnDelta):
            texts[str(record.turn)] += record.text
    return texts


def history(records: Sequence[LogRecord]) -> History:
    """The conversation after these taken records, as delivery tells it to who has nothing."""
    texts = answers(records)
    ends = {str(record.turn): record for record in records if isinstance(record, TurnEnded)}
    messages: list[HistoryMessage] = []
    opened: list[OpenTurn] = []
    for record in records:
        if not isinstance(record, TurnAccepted):
            continue
        turn = str(record.turn)
        if turn in ends:
            about = {"turn": turn, "n": record.n, "at": AT}
            messages += [
                HistoryMessage(item=f"{turn}u", role="user", text=record.text, **about),  # type: ignore[arg-type]
                HistoryMessage(item=f"{turn}a", role="assistant", text=texts[turn], reason="stop", **about),  # type: ignore[arg-type]
            ]
        else:
            of_turn = [each for each in records if each.turn == record.turn]
            opened.append(
                OpenTurn(
                    turn=turn, n=record.n, parent=None, text=record.text, user="u", at=AT,
                    attempt=max(each.attempt or 0 for each in of_turn),
                    seq=sum(isinstance(each, TurnDelta) for each in of_turn), answer=texts[turn],
                )
            )  # fmt: skip
    return History(messages=tuple(messages), open_turns=tuple(opened))


def merged(events: Events, joins: Sequence[bool]) -> Events:
    """The events with deltas that follow each other made one where `joins` says so, as for a slow reader."""
    found: Events = []
    for number, event in enumerate(events):
        last = found[-1] if found else {}
        follows = (
            event["type"] == "turn.delta" == last.get("type")
            and (event["turn"], event["attempt"]) == (last["turn"], last["attempt"])
            and joins[number % len(joins)]
        )
        if follows:
            found[-1] = {**last, "text": last["text"] + event["text"], "last_seq": event["seq"]}
        else:
            found.append(event)
    return found


_MOVES = ("queued", "started", "delta", "delta", "delta", "delta", "delta", "delta", "ended", "reset")


def lively_logs() -> st.SearchStrategy[list[LogRecord]]:
    """Logs in which turns get on, beside each other, through takeovers, with what repeats and zombies add."""
    move = st.tuples(st.sampled_from(TURNS), st.sampled_from(_MOVES), st.integers(0, 5))
    # Not from an empty one on: most short logs have no delta in them.
    return st.lists(move, min_size=25, max_size=60).map(_written)


def _written(moves: Sequence[tuple[TurnId, str, int]]) -> list[LogRecord]:
    log: list[LogRecord] = []
    fold = ConversationFold()
    met: set[TurnId] = set()
    for order, (turn, kind, slip) in enumerate(moves):
        cursor = fold.open_turns.get(turn, Cursor())
        # One record in three is not the next one: it is of the attempt or the piece before.
        attempt, seq = max(0, cursor.attempt - (slip == 0)), max(0, cursor.seq - (slip == 1))
        record: LogRecord
        if turn not in met:
            met.add(turn)
            record = accepted(turn, order)
        elif kind == "reset":
            record = reset(order)
        elif kind == "queued":
            record = queued(turn)
        elif kind == "started" or cursor.attempt == 0:
            record = started(turn, attempt + 1)
        elif kind == "delta":
            record = delta(turn, attempt, seq)
        else:
            record = ended(turn, attempt, seq)
        fold.take(record)
        log.append(record)
    return log


def delivered() -> st.SearchStrategy[list[LogRecord]]:
    """What every reader takes of logs that zombies and repeats have visited."""
    return lively_logs().map(taken)
