"""Named cases: schedules written out, step by step, on the product's own code."""

import pytest

from schemas import topics
from schemas.records import TurnDispatched, TurnStarted
from schemas.turns import Reason
from tests.simulation.gate import LOG
from tests.simulation.people import turn_of
from tests.simulation.schedule import Outcome, read, repeat, told
from tests.simulation.scope import Scope
from tests.simulation.worker import Step

TURN = turn_of(0)
POOL = "inference.a"

# One turn from its request to its row: each line is a place where something may come between.
ALONE = read("""
user | asks | T1
g0 | reads | chat.moderated
g0 | lands | states
g0 | lands | log                 # turn.accepted
g0 | lands | inference.a
g0 | commits
w0 | fetches
w0 | begins | 0                  # a source that no engine has met: its claim is on its way unread
w0 | lands | log
w0 | reads | 0                   # the claim is taken: the first piece is on its way
w0 | lands | log
w0 | goes on | 0
w0 | lands | log
w0 | goes on | 0                 # the end is on its way
w0 | lands | log
w0 | reads | 0                   # the end is taken
w0 | lands | chat.usage
w0 | lands | chat.turns
w0 | commits
g0 | reads | chat.turns
g0 | lands | contexts
g0 | lands | states
g0 | commits
store | stores
""")
_GATE_STEPS = range(1, 6)
_ENDING_STEPS = range(14, 19)


def _run(scope: Scope, text: str) -> Outcome:
    return repeat(scope, read(text), strictly=True)


def _clean(outcome: Outcome) -> Outcome:
    assert outcome.broken is None, outcome.broken
    return outcome


def _claims(outcome: Outcome) -> list[tuple[str, bool]]:
    """Each claim in the log, and whether readers take it."""
    log, taken = outcome.world.broker.log(LOG.topic), outcome.world.watch.own.taken
    return [(each.id, taken[at]) for at, each in enumerate(log) if isinstance(each, TurnStarted)]


def _text(outcome: Outcome) -> str:
    return outcome.world.watch.turns[TURN].text


def _reason(outcome: Outcome) -> Reason | None:
    ended = outcome.world.watch.turns[TURN].ended
    return None if ended is None else ended.reason


def _dispatches(outcome: Outcome, pool: str = "a") -> list[TurnDispatched]:
    return list(outcome.world.broker.log(topics.inference_topic(pool).name))


def test_a_turn_alone() -> None:
    """Without faults one claim, one answer of one generator, and nothing is left to do behind the last line."""
    outcome = _clean(repeat(Scope(), ALONE, strictly=True))
    assert outcome.steps == ALONE
    assert _claims(outcome) == [("w0.1", True)]
    assert _text(outcome) == "<w0.1><w0.1>"


def test_a_zombie_between_reading_and_claiming() -> None:
    """Who was expelled between the read and the claim claims in vain: its number is taken, its partition another's."""
    outcome = _clean(
        _run(
            Scope(budget={"freeze": 2}),
            """
            user | asks | T1
            g0 | reads | chat.moderated
            g0 | lands | states
            g0 | lands | log
            g0 | lands | inference.a
            fault | expels | w0
            w0 | learns that it is expelled
            w0 | joins | keeps
            w1 | is assigned
            w1 | opens               # the source was there before the assignment: it must be read first
            w1 | fetches
            w1 | begins | 0
            w1 | reads | 0           # nothing in the log: claim
            fault | expels | w1
            w0 | is assigned
            w0 | opens
            w0 | fetches
            w0 | begins | 0
            w0 | reads | 0
            w0 | lands | log
            w1 | lands | log         # the zombie's claim, under the same number
            w1 | reads | 0
            w1 | asks its group | 0
            """,
        )
    )
    assert _claims(outcome) == [("w0.1", True), ("w1.1", False)]
    assert _text(outcome) == "<w0.1><w0.1>"


def test_two_successors() -> None:
    """Each successor goes on behind what it has read up to its own claim, and who was displaced adds nothing."""
    outcome = _clean(
        _run(
            Scope(pools=("a", "a", "a", "closing"), pieces=3, budget={"freeze": 2}),
            """
            user | asks | T1
            g0 | reads | chat.moderated
            g0 | lands | states
            g0 | lands | log
            g0 | lands | inference.a
            w0 | fetches
            w0 | begins | 0
            w0 | lands | log
            w0 | reads | 0
            w0 | lands | log         # <w0.1>
            fault | expels | w0
            w1 | is assigned
            w1 | opens
            w1 | fetches
            w1 | begins | 0
            w1 | reads | 0
            w1 | lands | log
            w1 | reads | 0           # owns behind <w0.1>
            w0 | goes on | 0         # unaware
            w0 | lands | log         # dropped
            w1 | lands | log         # <w1.1>
            fault | expels | w1
            w2 | is assigned
            w2 | opens
            w2 | fetches
            w2 | begins | 0
            w2 | reads | 0
            w2 | lands | log
            w1 | goes on | 0
            w1 | lands | log         # dropped
            """,
        )
    )
    assert _claims(outcome) == [("w0.1", True), ("w1.1", True), ("w2.1", True)]
    assert _text(outcome) == "<w0.1><w1.1><w2.1>"


def test_one_turn_in_two_pools() -> None:
    """Two gates send the same number to two pools: the first claim holds the turn, the other source is a repeat."""
    outcome = _clean(
        _run(
            Scope(pools=("a", "b", "closing"), gates=2, budget={"gate freeze": 1, "prefer": 1}),
            """
            user | asks | T1
            fault | expels | g0
            g1 | opens
            g0 | reads | chat.moderated
            g0 | lands | states
            g0 | lands | log
            g0 | lands | inference.a
            user | prefers | b
            g1 | reads | chat.moderated
            g1 | lands | states
            g1 | lands | log
            g1 | lands | inference.b
            w0 | fetches
            w1 | fetches
            w0 | begins | 0
            w1 | begins | 0
            w1 | lands | log
            w0 | lands | log
            w0 | reads | 0           # not taken, and another source of its number holds the turn
            w0 | commits
            w1 | reads | 0
            """,
        )
    )
    assert [each.dispatch for each in (*_dispatches(outcome), *_dispatches(outcome, "b"))] == [1, 1]
    assert _claims(outcome) == [("w1.1", True), ("w0.1", False)]
    assert _text(outcome) == "<w1.1><w1.1>"


def test_a_turn_that_ends_before_the_gate_has_met_it() -> None:
    """A gate that reads TurnCompleted before TurnAllowed starts nothing when the request comes."""
    outcome = _clean(
        _run(
            Scope(gates=2, budget={"gate freeze": 1}),
            """
            user | asks | T1
            fault | expels | g0
            g1 | opens
            g0 | reads | chat.moderated
            g0 | lands | states
            g0 | lands | log
            g0 | lands | inference.a
            w0 | fetches
            w0 | begins | 0
            w0 | lands | log
            w0 | reads | 0
            w0 | lands | log
            w0 | goes on | 0
            w0 | lands | log
            w0 | goes on | 0
            w0 | lands | log
            w0 | reads | 0
            w0 | lands | chat.usage
            w0 | lands | chat.turns
            g1 | reads | chat.turns
            g1 | reads | chat.moderated
            """,
        )
    )
    assert len(_dispatches(outcome)) == 1


@pytest.mark.parametrize("verb", ["kills", "burns", "expels"])
@pytest.mark.parametrize("place", _GATE_STEPS)
def test_a_gate_dies_between_state_effects_and_ack(place: int, verb: str) -> None:
    """In whichever gap a gate dies or freezes, its successor says what is due, and the turn is answered once."""
    budget = {"gate freeze" if verb == "expels" else "gate crash": 1}
    steps: list[Step] = [*ALONE[: place + 1], ("fault", verb, "g0"), *ALONE[place + 1 :]]
    outcome = _clean(repeat(Scope(gates=2, budget=budget), steps))
    assert ("fault", verb, "g0") in outcome.steps
    assert _text(outcome) == "<w0.1><w0.1>"


@pytest.mark.parametrize("place", range(len(ALONE)))
def test_a_stop_at_any_time(place: int) -> None:
    """Wherever a stop falls the turn ends once: cancelled if the gate meets it first, by itself if it is too late."""
    steps: list[Step] = [*ALONE[:place], ("user", "stops", "T1"), *ALONE[place:]]
    outcome = _clean(repeat(Scope(budget={"stop": 1}), steps))
    assert _reason(outcome) in (Reason.STOP, Reason.CANCELLED)
    first = _clean(
        repeat(
            Scope(budget={"stop": 1}), [*ALONE[:place], ("user", "stops", "T1"), ("w0", "hears", ""), *ALONE[place:]]
        )
    )
    # Until the end is on its way a worker that has heard of the stop ends the turn with it.
    assert _reason(first) is (Reason.CANCELLED if place <= 13 else Reason.STOP)


@pytest.mark.parametrize("verb", ["kills", "expels"])
@pytest.mark.parametrize("place", _ENDING_STEPS)
def test_a_worker_dies_between_the_end_and_its_commit(place: int, verb: str) -> None:
    """An end in the log is projected by whoever finds it, alike, and no second answer begins."""
    budget = {"freeze" if verb == "expels" else "crash": 1}
    steps: list[Step] = [*ALONE[: place + 1], ("fault", verb, "w0"), *ALONE[place + 1 :]]
    outcome = _clean(repeat(Scope(budget=budget), steps))
    assert _claims(outcome) == [("w0.1", True)]


def test_a_turn_given_back_whose_worker_died_between_its_two_records() -> None:
    """Once the turn record is there its usage is as well: a gate that reads it looks at the turn no more."""
    outcome = _clean(
        repeat(
            Scope(budget={"crash": 1, "give back": 1}),
            [
                *ALONE[:16],
                *read("""
                w0 | lands | chat.turns  # can't be taken: the usage record comes first
                fault | kills | w0
                late | vanishes | w0 chat.usage
                w1 | is assigned
                w1 | opens
                w1 | fetches
                fault | crowds out | w1 0
                w1 | lands | chat.turns
                w1 | commits
                """),
            ],
        )
    )
    assert f"{TURN}.usage" in outcome.world.watch.facts


def test_a_schedule_is_read_as_it_is_told() -> None:
    """A break's trace can be pasted into a test."""
    assert read(told(ALONE)) == ALONE
