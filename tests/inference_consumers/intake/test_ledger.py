"""Offsets that finish in any order, and the commits that come of it."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from inference_consumers.intake.ledger import MAX_METADATA_BYTES, Commit, Ledger, decode_runs, encode_runs


def test_a_fresh_ledger_commits_its_beginning() -> None:
    """Nothing arrived: the offset stays and no metadata is needed."""
    assert Ledger(5).commit() == Commit(5, "")


def test_the_lowest_unfinished_is_committed() -> None:
    """Offsets 0, 2, 3 of 0..4 are finished: 1 is committed and the run above it travels along."""
    ledger = Ledger(0)
    for offset in range(5):
        assert ledger.arrive(offset)
    for offset in (0, 2, 3):
        ledger.finish(offset)
    commit = ledger.commit()
    assert commit.offset == 1
    assert list(decode_runs(commit)) == [(2, 4)]


def test_a_successor_starts_nothing_that_is_finished() -> None:
    """A ledger loaded from a commit lets only the unfinished arrive, and commits past all in the end."""
    first = Ledger(0)
    for offset in range(6):
        first.arrive(offset)
    for offset in (1, 3, 4):
        first.finish(offset)
    second = Ledger.load(first.commit())
    assert [offset for offset in range(8) if second.arrive(offset)] == [0, 2, 5, 6, 7]
    for offset in (0, 2, 5, 6, 7):
        second.finish(offset)
    assert second.commit() == Commit(8, "")


def test_what_a_predecessor_finished_is_kept_before_it_arrives_again() -> None:
    """A second successor learns of finished offsets that the first one has not even fetched."""
    second = Ledger.load(Commit(10, encode_runs(10, [(12, 14), (20, 21)])[0]))
    second.arrive(10)
    assert list(decode_runs(second.commit())) == [(12, 14), (20, 21)]
    second.finish(10)
    second.arrive(11)
    second.finish(11)
    assert [offset for offset in range(12, 22) if second.arrive(offset)] == [14, 15, 16, 17, 18, 19, 21]


def test_a_repeated_fetch_changes_nothing() -> None:
    """An offset below the position has arrived before."""
    ledger = Ledger(0)
    assert ledger.arrive(0)
    assert not ledger.arrive(0)
    ledger.finish(0)
    ledger.finish(0)
    assert ledger.commit() == Commit(1, "")


def test_gaps_in_the_log_hold_nothing_back() -> None:
    """Offsets without a record between two arrivals count as finished."""
    ledger = Ledger(3)
    ledger.arrive(5)
    ledger.arrive(9)
    ledger.finish(5)
    assert ledger.commit() == Commit(9, "")


def test_foreign_metadata_counts_as_empty() -> None:
    """Whatever another tool committed is no reason to skip or to fail."""
    for text in ("", "hello", "r1:***", "r1:gICA", "r1:A"):
        assert [offset for offset in range(4) if Ledger.load(Commit(0, text)).arrive(offset)] == list(range(4))


def test_a_crowded_commit_is_cut_not_refused() -> None:
    """More runs than fit: the lowest are kept, and the ledger says so until they fit again."""
    ledger = Ledger(0)
    for offset in range(8000):
        ledger.arrive(offset)
    for offset in range(1, 8000, 2):
        ledger.finish(offset)
    commit = ledger.commit()
    assert len(commit.metadata) <= MAX_METADATA_BYTES
    assert ledger.is_crowded
    kept = list(decode_runs(commit))
    assert kept == [(offset, offset + 1) for offset in range(1, 2 * len(kept), 2)]
    for offset in range(0, 6000, 2):
        ledger.finish(offset)
    ledger.commit()
    assert not ledger.is_crowded


@given(st.integers(0, 2**40), st.lists(st.tuples(st.integers(1, 2**33), st.integers(1, 2**33)), max_size=60))
def test_runs_survive_their_text(offset: int, gaps: list[tuple[int, int]]) -> None:
    """What is written into the metadata is read out of it."""
    runs, here = [], offset
    for gap, length in gaps:
        runs.append((here + gap, here + gap + length))
        here += gap + length
    text, held = encode_runs(offset, runs)
    assert held == len(runs)
    assert list(decode_runs(Commit(offset, text))) == runs


@settings(max_examples=60)
@given(st.randoms(use_true_random=False), st.integers(1, 3000), st.integers(1, 400), st.floats(0, 1))
def test_no_order_makes_a_commit_too_large_or_stops_the_finishing(
    random: Random, count: int, open_at_once: int, crash: float
) -> None:
    """Whatever order arrivals, ends and crashes have: commits fit, never skip an unfinished one, and reach the end."""
    draw = random
    finished: set[int] = set()
    ledger, waiting = Ledger(0), list[int]()
    while ledger.commit().offset < count:
        while ledger.position < count and len(waiting) < open_at_once:
            offset = ledger.position
            if ledger.arrive(offset):
                waiting.append(offset)
        if waiting:
            done = waiting.pop(draw.randrange(len(waiting)))
            ledger.finish(done)
            finished.add(done)
        commit = ledger.commit()
        assert len(commit.metadata) <= MAX_METADATA_BYTES
        assert all(offset in finished for offset in range(commit.offset))
        assert all(offset in finished for run in decode_runs(commit) for offset in range(*run))
        if draw.random() < crash * 0.02:
            ledger, waiting = Ledger.load(commit), []
    assert finished == set(range(count))
