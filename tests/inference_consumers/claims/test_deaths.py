"""Deaths and hand-overs, told apart by the log alone."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from inference_consumers.claims.deaths import Deaths
from schemas.fold import TurnFold
from schemas.records import Record, TurnReleased
from tests.support.logs import TURNS, delta, started
from tests.support.samples import AT

TURN = TURNS[0]


def claimed(attempt: int, worker: str | None, *, alone: bool = False) -> Record:
    return replace(started(TURN, attempt), worker=worker, alone=alone)


def released(attempt: int, worker: str) -> Record:
    return TurnReleased(id=f"released.{attempt}", at=AT, turn=TURN, attempt=attempt, worker=worker)


def of(*records: Record, to: str | None = "") -> tuple[int, int]:
    """How many deaths these records tell the last claimer of, or another worker, and how many were met alone."""
    fold, deaths = TurnFold(TURN), Deaths()
    for offset, record in enumerate(records):
        deaths.take(record, is_taken=fold.take(record, offset))
    toll = deaths.toll(to if to != "" or fold.claim is None else fold.claim.worker)
    return toll.deaths, toll.alone


def test_a_claim_over_another_workers_is_a_death() -> None:
    """Whoever left without a word died; alone or in company, as its claim said."""
    assert of(claimed(1, "a")) == (0, 0)
    assert of(claimed(1, "a"), delta(TURN, 1, 0, "x"), claimed(2, "b")) == (1, 0)
    assert of(claimed(1, "a", alone=True), claimed(2, "b", alone=True), claimed(3, "c")) == (2, 2)


def test_the_next_claim_is_counted_before_it_is_made() -> None:
    """A worker knows what its claim will show, so that it can be alone in time; its own claim is no death."""
    dead = claimed(1, "a"), claimed(2, "b", alone=True)
    assert of(*dead, to="c") == of(*dead, claimed(3, "c")) == (2, 1)
    assert of(*dead, to="b") == (1, 0)
    assert of(*dead, released(2, "b"), to="c") == (1, 0)
    assert of(to="c") == (0, 0)


def test_a_released_turn_met_no_death() -> None:
    """A hand-over never counts, also where its release lands behind the successor's claim."""
    assert of(claimed(1, "a"), released(1, "a"), claimed(2, "b")) == (0, 0)
    assert of(claimed(1, "a", alone=True), claimed(2, "b"), released(1, "a")) == (0, 0)
    assert of(claimed(1, "a"), claimed(2, "b"), released(2, "b"), claimed(3, "c")) == (1, 0)


def test_a_release_is_of_its_own_worker() -> None:
    """It takes back all claims of who let go, a later one that is not in the log too, and no death of somebody else."""
    assert of(claimed(1, "a"), released(2, "a"), claimed(2, "b"), claimed(3, "c")) == (1, 0)
    assert of(claimed(1, "a"), claimed(2, "a"), released(3, "a"), claimed(3, "b")) == (0, 0)


def test_a_worker_that_claims_again_lives() -> None:
    """A lost append and a rebalance that comes back are no deaths."""
    assert of(claimed(1, "a"), claimed(2, "a"), claimed(3, "a")) == (0, 0)


def test_who_asks_lives() -> None:
    """A worker that was displaced while it was frozen, and has not said so yet, counts itself for no death."""
    assert of(claimed(1, "a"), claimed(2, "b"), to="a") == (1, 0)
    assert of(claimed(1, "a"), claimed(2, "b"), claimed(3, "a")) == (1, 0)


def test_a_claim_that_is_not_taken_displaces_nobody() -> None:
    """A zombie's late claim under a number that is gone tells of no death."""
    assert of(claimed(2, "a"), claimed(1, "zombie"), claimed(2, "zombie")) == (0, 0)


def test_claims_without_a_name_never_count() -> None:
    """What was written before workers gave their names accuses nobody."""
    assert of(claimed(1, None), claimed(2, "b"), claimed(3, None)) == (1, 0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans(), st.booleans()), max_size=12))
def test_deaths_are_those_that_really_happened(life: list[tuple[str, bool, bool, bool]]) -> None:
    """However deaths, late and early releases follow one another, the log tells of exactly the deaths there were.

    Each claim: who, alone, whether its worker then died, whether a release is late. A name never claims after death.
    """
    records: list[Record] = []
    late: list[Record] = []
    died: list[bool] = []
    for attempt, (name, alone, dies, is_late) in enumerate(life, 1):
        records += [claimed(attempt, f"{name}{attempt}", alone=alone), *late]
        late = []
        if dies:
            died.append(alone)
        elif is_late:
            late = [released(attempt, f"{name}{attempt}")]
        else:
            records.append(released(attempt, f"{name}{attempt}"))
    records += [claimed(len(life) + 1, "last"), *late]
    assert of(*records) == (len(died), sum(died))
