"""One conversation as its reader sees it: the reader's rule (contract, "The conversation log" and "WebSocket").

Delivery has applied the rule of the log. A reader applies it once more, so that what a cut or another node brings again
is shown once, and what is missing is noticed. `producers/page/thread.js` is the same rule in JavaScript.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from schemas.frames import History
from schemas.turns import Reason

_ORDERED: Final = frozenset({"turn.accepted", "conversation.reset", "conversation.moved"})


class Fate(StrEnum):
    """What became of an event. GAP: something is missing before it, and the thread must begin anew from history."""

    TAKEN = "taken"
    DROPPED = "dropped"
    GAP = "gap"


@dataclass(slots=True, kw_only=True)
class Turn:
    """One turn as it is shown.

    Args:
        n, parent, text: place, turn before it and the user's words; unknown (None, "") where reading began behind them.
        seq: of the next delta; None = the first one to come tells it.
        reason: why it ended; None until then. refusal, error: what is told of an end that isn't an answer's.
        ahead: turns that wait before it, as last told.
    """

    id: str
    n: int | None = None
    parent: str | None = None
    text: str = ""
    pieces: list[str] = field(default_factory=list)
    attempt: int = 0
    seq: int | None = 0
    reason: str | None = None
    refusal: str | None = None
    error: Mapping[str, Any] | None = None
    ahead: int | None = None
    is_degraded: bool = False

    @property
    def answer(self) -> str:
        """The answer so far."""
        return "".join(self.pieces)

    def take(self, event: Mapping[str, Any]) -> Fate:
        """Fold in an event of this turn."""
        attempt = event.get("attempt") or 0
        match event["type"]:
            case "turn.queued" if self.attempt == 0:
                self.ahead = event["ahead"]
            case "turn.started" if attempt > self.attempt:
                self.attempt, self.is_degraded = attempt, event.get("degraded", False)
            case "turn.delta" if attempt == self.attempt:
                return self._take_delta(event)
            case "turn.ended" if attempt == self.attempt:
                if self.seq not in (None, event["seq"]):
                    return Fate.GAP
                self.reason, self.error = event["reason"], event.get("error")
                self.refusal = (event.get("detail") or {}).get("refusal")
            case _:
                return Fate.DROPPED
        return Fate.TAKEN

    def _take_delta(self, event: Mapping[str, Any]) -> Fate:
        first = event["seq"]
        last = event.get("last_seq", first)
        if self.seq is not None and last < self.seq:
            return Fate.DROPPED
        # A merged delta that begins in what is known can't be cut: texts don't say where a piece ends.
        if self.seq not in (None, first):
            return Fate.GAP
        self.seq = last + 1
        if event.get("channel", "text") == "text":  # channels of a later release are counted, not shown
            self.pieces.append(event["text"])
        return Fate.TAKEN


@dataclass(slots=True, kw_only=True)
class Thread:
    """The turns of a conversation by id.

    Args:
        is_whole: False: reading began at a position without what lies before it, so turns may be met in their middle.
        order: the highest `order` seen.
        before: the item from which `GET .../items?after=` goes on to older ones; None = nothing older.
    """

    is_whole: bool = True
    turns: dict[str, Turn] = field(default_factory=dict)
    order: int = -1
    before: str | None = None

    def take(self, event: Mapping[str, Any]) -> Fate:
        """Fold in one event. A type of a later release is dropped."""
        if event["type"] in _ORDERED:
            return self._take_ordered(event)
        turn = self.turns.get(event.get("turn") or "")
        if turn is None and not self.is_whole:
            turn = self._met_midway(event)
        if turn is None or turn.reason is not None:
            return Fate.DROPPED
        return turn.take(event)

    def _take_ordered(self, event: Mapping[str, Any]) -> Fate:
        if event["order"] <= self.order:
            return Fate.DROPPED
        self.order = event["order"]
        if event["type"] == "turn.accepted":
            if event["turn"] in self.turns:
                return Fate.DROPPED  # history knew it
            self.turns[event["turn"]] = Turn(
                id=event["turn"], n=event["n"], parent=event.get("parent"), text=event["text"]
            )
        return Fate.TAKEN

    def _met_midway(self, event: Mapping[str, Any]) -> Turn:
        attempt = event.get("attempt") or 0
        before = attempt - 1 if event["type"] == "turn.started" else attempt
        turn = self.turns[event["turn"]] = Turn(id=event["turn"], attempt=before, seq=None)
        return turn


def from_history(history: History, before: str | None) -> Thread:
    """The thread as the server's history has it."""
    thread = Thread(before=before)
    for message in history.messages:
        turn = thread.turns.setdefault(message.turn, Turn(id=message.turn, n=message.n, parent=message.parent))
        if message.role == "user":
            turn.text = message.text
        else:
            turn.pieces = [message.text]
        turn.reason = message.reason or turn.reason or Reason.STOP
        turn.refusal = message.refusal or turn.refusal
    for each in history.open_turns:
        thread.turns[each.turn] = Turn(
            id=each.turn, n=each.n, parent=each.parent, text=each.text, pieces=[each.answer],
            attempt=each.attempt, seq=each.seq,
        )  # fmt: skip
    return thread
