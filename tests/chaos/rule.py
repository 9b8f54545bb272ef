"""The rule of the conversation log, written anew from the contract's words (section 4), on plain JSON.

The checker must not share the product's own fold: a mistake there would hide itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass
class FoldedTurn:
    """One turn as every reader must see it.

    Args:
        taken_tokens, dropped_tokens: token ids in deltas that were taken; in others before the end.
    """

    accepted: Json | None = None
    attempt: int = 0
    seq: int = 0
    text: str = ""
    taken_tokens: int = 0
    dropped_tokens: int = 0
    ended: Json | None = None
    end_offset: int = -1
    claims: int = 0


@dataclass
class FoldedLog:
    """All turns of one conversation."""

    order: int = -1
    resets: int = 0
    turns: dict[str, FoldedTurn] = field(default_factory=dict)

    def take(self, offset: int, record: Json) -> None:
        """Fold the next record of the conversation in."""
        kind = record["type"]
        if kind in {"turn.accepted", "conversation.reset", "conversation.moved"}:
            if record["order"] > self.order:
                self.order = record["order"]
                self.resets += kind == "conversation.reset"
                if kind == "turn.accepted":
                    self.turns.setdefault(record["turn"], FoldedTurn()).accepted = record
            return
        if kind in {"turn.started", "turn.delta", "turn.ended"}:
            _take_of_turn(self.turns.setdefault(record["turn"], FoldedTurn()), offset, record)


def _take_of_turn(turn: FoldedTurn, offset: int, record: Json) -> None:
    number = record["attempt"]
    match record["type"]:
        case "turn.started" if turn.ended is None and number > turn.attempt:
            turn.attempt = number
            turn.claims += 1
        case "turn.delta" if turn.ended is None:
            tokens = len(record["token_ids"])
            if number == turn.attempt and record["seq"] == turn.seq:
                turn.seq += 1
                turn.taken_tokens += tokens
                if record.get("channel", "text") == "text":
                    turn.text += record["text"]
            else:
                turn.dropped_tokens += tokens
        case "turn.ended" if turn.ended is None and number == turn.attempt and record["seq"] == turn.seq:
            turn.ended, turn.end_offset = record, offset


def fold(records: Iterable[tuple[int, Json]]) -> FoldedLog:
    """The log of one conversation, in its order."""
    log = FoldedLog()
    for offset, record in records:
        log.take(offset, record)
    return log
