"""Conversation logs for tests: short builders of records, and logs that zombies and repeats have visited."""

from dataclasses import replace

from hypothesis import strategies as st

from schemas import ids
from schemas.ids import TurnId
from schemas.records import (
    LogRecord,
    MovedLogged,
    ResetLogged,
    TurnAccepted,
    TurnDelta,
    TurnEnded,
    TurnQueued,
    TurnStarted,
)
from schemas.turns import Reason
from tests.support.samples import AT, CONVERSATION, sample

TURNS = tuple(ids.turn_id(CONVERSATION, f"{number:032x}") for number in range(1, 4))


def accepted(turn: TurnId, order: int) -> TurnAccepted:
    """The gate's record that the turn has its place."""
    record: TurnAccepted = sample(TurnAccepted)
    return replace(record, turn=turn, order=order, id=f"{turn}.accepted", attempt=None)


def queued(turn: TurnId) -> TurnQueued:
    """The gate's record that the turn waits."""
    return TurnQueued(id=f"{turn}.queued.0", at=AT, conversation=CONVERSATION, turn=turn, ahead=1, eta_s=None)


def started(turn: TurnId, attempt: int, *, claim: str = "") -> TurnStarted:
    """A worker's claim."""
    record: TurnStarted = sample(TurnStarted)
    return replace(record, turn=turn, attempt=attempt, id=claim or f"{turn}.{attempt}.claim")


def delta(turn: TurnId, attempt: int, seq: int, text: str = "", *, tokens: int = 1) -> TurnDelta:
    """A piece of an answer; its text names attempt and seq unless given."""
    text = text or f"<{attempt}.{seq}>"
    return TurnDelta(
        id=f"{turn}.{attempt}.{seq}", at=AT, tenant="acme", conversation=CONVERSATION, turn=turn, attempt=attempt,
        seq=seq, text=text, token_ids=(seq,) * tokens, tokens=tokens,
    )  # fmt: skip


def ended(turn: TurnId, attempt: int, seq: int, reason: Reason = Reason.STOP) -> TurnEnded:
    """A turn's end."""
    record: TurnEnded = sample(TurnEnded)
    return replace(record, turn=turn, attempt=attempt, seq=seq, reason=reason, id=f"{turn}.{attempt}.ended", at=AT)


def reset(order: int) -> ResetLogged:
    """The context begins anew."""
    return ResetLogged(id=f"reset.{order}", at=AT, conversation=CONVERSATION, order=order)


def moved(order: int) -> MovedLogged:
    """The own topic is closed."""
    return MovedLogged(id=f"moved.{order}", at=AT, conversation=CONVERSATION, order=order)


_TURN = st.sampled_from(TURNS)
_SMALL = st.integers(0, 3)


def wild_logs(max_size: int = 40) -> st.SearchStrategy[list[LogRecord]]:
    """Logs in any order at all: what every reader must survive and read alike."""
    record = st.one_of(
        st.builds(accepted, _TURN, st.integers(0, 6)),
        st.builds(queued, _TURN),
        st.builds(started, _TURN, _SMALL),
        st.builds(delta, _TURN, _SMALL, _SMALL),
        st.builds(ended, _TURN, _SMALL, _SMALL),
        st.builds(reset, st.integers(0, 6)),
    )
    return st.lists(record, max_size=max_size)
