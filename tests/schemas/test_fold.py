"""The rule of the conversation log: every reader takes the same records and drops the same ones."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.fold import ConversationFold, TurnFold
from schemas.ids import TurnId
from schemas.records import LogRecord, TurnAccepted, TurnDelta, TurnEnded, TurnQueued, TurnReleased, TurnStarted
from tests.support.logs import TURNS, accepted, delta, ended, queued, reset, started, wild_logs
from tests.support.samples import AT

A, B, _ = TURNS


def literal(log: list[LogRecord]) -> list[LogRecord]:
    """The contract's rule, word for word, with every turn's state kept for ever."""
    state: dict[TurnId | None, tuple[int, int, bool]] = {}
    order, taken = -1, []
    for record in log:
        a, s, is_ended = state.get(record.turn, (0, 0, False))
        match record:
            case TurnStarted(attempt=int(n)) if not is_ended and n > a:
                a = n
            case TurnDelta(attempt=n, seq=q) if not is_ended and n == a and q == s:
                s += 1
            case TurnEnded(attempt=n, seq=q) if not is_ended and n == a and q == s:
                is_ended = True
            case TurnQueued() if not is_ended and a == 0:
                pass
            case _ if hasattr(record, "order") and record.order > order:
                order = record.order
            case _:
                continue
        state[record.turn] = (a, s, is_ended)
        taken.append(record)
    return taken


def with_every_turn_accepted_first(log: list[LogRecord]) -> list[LogRecord]:
    """What the gate guarantees: nothing of a turn stands before its `turn.accepted`, and none is accepted twice."""
    rest = [record for record in log if not isinstance(record, TurnAccepted)]
    return [accepted(turn, order - 10) for order, turn in enumerate(TURNS, 10)] + rest


@given(wild_logs().map(with_every_turn_accepted_first), st.integers(0, 9), st.integers(0, 3))
def test_a_release_changes_no_fold(log: list[LogRecord], place: int, attempt: int) -> None:
    """Wherever a worker says that it lives, every reader takes what it would have taken, and nothing more."""
    release = TurnReleased(id="r", at=AT, turn=A, attempt=attempt, worker="w")
    told = [*log[:place], release, *log[place:]]
    fold = ConversationFold()
    assert [record for record in told if fold.take(record)] == literal(log)
    turn = TurnFold(A)
    assert not turn.take(release, 0)


@given(wild_logs().map(with_every_turn_accepted_first))
def test_conversation_fold_is_the_literal_rule(log: list[LogRecord]) -> None:
    """The reader's fold, which forgets ended turns, takes what the contract's rule takes."""
    fold = ConversationFold()
    assert [record for record in log if fold.take(record)] == literal(log)


@given(wild_logs())
def test_turn_fold_is_the_literal_rule_of_one_turn(log: list[LogRecord]) -> None:
    """A worker's fold takes the records of its turn that the contract's rule takes, and gives their text."""
    fold = TurnFold(A)
    taken = [record for offset, record in enumerate(log) if fold.take(record, offset)]
    expected = [record for record in literal(log) if record.turn == A and not isinstance(record, TurnAccepted)]
    assert taken == expected
    assert fold.text == "".join(record.text for record in expected if isinstance(record, TurnDelta))
    assert (fold.ended is not None) == any(isinstance(record, TurnEnded) for record in expected)


@given(wild_logs(), st.integers(0, 40))
def test_a_copy_goes_on_as_the_fold_itself(log: list[LogRecord], cut: int) -> None:
    """A fold copied at any place takes the same records from there on, and the original is not moved by it."""
    fold = ConversationFold()
    for record in log[:cut]:
        fold.take(record)
    copy = fold.copy()
    assert [copy.take(record) for record in log[cut:]] == [fold.take(record) for record in log[cut:]]


@given(wild_logs())
def test_taken_deltas_have_no_gap_and_no_repeat(log: list[LogRecord]) -> None:
    """Per turn, the deltas a reader shows are numbered 0, 1, 2 ... across attempts."""
    fold = ConversationFold()
    shown = [record for record in log if fold.take(record) and isinstance(record, TurnDelta)]
    for turn in TURNS:
        seqs = [record.seq for record in shown if record.turn == turn]
        assert len(seqs) == 0 or seqs[-1] - seqs[0] == len(seqs) - 1


def test_a_zombie_adds_nothing() -> None:
    """Behind a successor's claim, the former owner's deltas and end are dropped."""
    log = [accepted(A, 0), started(A, 1), delta(A, 1, 0), started(A, 2), delta(A, 1, 1), delta(A, 2, 1), ended(A, 1, 2)]
    fold = ConversationFold()
    assert [fold.take(record) for record in log] == [True, True, True, True, False, True, False]


def test_an_end_cannot_seal_a_lost_delta() -> None:
    """`turn.ended` that counts another number of deltas is not taken."""
    fold = ConversationFold()
    log = [accepted(A, 0), started(A, 1), delta(A, 1, 0), ended(A, 1, 2), ended(A, 1, 1), delta(A, 1, 1)]
    assert [fold.take(record) for record in log] == [True, True, True, False, True, False]


def test_a_repeated_order_is_dropped() -> None:
    """A reset or acceptance that was written again is shown once."""
    fold = ConversationFold()
    log = [accepted(A, 3), accepted(A, 3), reset(4), reset(4), accepted(B, 2), queued(A), started(A, 1), queued(A)]
    assert [fold.take(record) for record in log] == [True, False, True, False, False, True, True, False]


def test_only_counted_tokens_are_delivered() -> None:
    """Tokens of dropped deltas count as regenerated, those of taken ones as delivered."""
    fold = TurnFold(A)
    log = [
        started(A, 1),
        delta(A, 1, 0, tokens=2),
        started(A, 2),
        delta(A, 1, 1, tokens=3),
        delta(A, 2, 1, tokens=4),
        ended(A, 2, 2),
    ]
    for offset, record in enumerate(log):
        fold.take(record, offset)
    assert (fold.delivered_tokens, fold.regenerated_tokens, fold.highest, fold.end_offset) == (6, 3, 2, 5)
    assert fold.token_ids == [0, 0, 1, 1, 1, 1]
