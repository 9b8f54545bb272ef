from hypothesis import given
from hypothesis import strategies as st

from producers.publishing.layouts import BATCH, LEFTOVER_MS, SPARE_LIFE_MS, is_fresh, overdue, to_make
from schemas import ids

COUNT = st.integers(0, 100)
UNTAKEN = st.dictionaries(st.integers(0, 7), COUNT, max_size=8)
NOW_MS = 1_800_000_000_000
AGES_MS = st.integers(-LEFTOVER_MS, 3 * LEFTOVER_MS)


@given(UNTAKEN, COUNT, st.integers(-50, 200) | st.none())
def test_the_bounds_hold(untaken: dict[int, int], target: int, room: int | None) -> None:
    """Never more than a batch, than there is room for, or than each partition's share of the target."""
    made = to_make(untaken, target, room)
    assert made.keys() <= untaken.keys()
    assert all(count > 0 for count in made.values())
    assert sum(made.values()) <= BATCH
    assert room is None or sum(made.values()) <= max(0, room)
    level = -(-target // len(untaken)) if untaken else 0
    assert all(untaken[each] + count <= level for each, count in made.items())


@given(UNTAKEN.filter(bool), st.integers(1, 100), st.integers(1, 50))
def test_the_emptiest_comes_first(untaken: dict[int, int], target: int, room: int) -> None:
    """Whichever partition got some, none is left emptier by more than one."""
    made = to_make(untaken, target, room)
    after = {each: untaken[each] + made.get(each, 0) for each in untaken}
    assert all(after[each] <= min(after.values()) + 1 for each in made)


@given(UNTAKEN.filter(bool), st.integers(1, 100))
def test_an_empty_partition_is_always_filled(untaken: dict[int, int], target: int) -> None:
    """As long as there is room no gateway is left without, however much lies with others."""
    made = to_make({**untaken, 8: 0}, target, BATCH)
    assert made[8] > 0


def test_spares_are_made_in_batches() -> None:
    """Nothing is made until a partition is half empty, then all that are missing anywhere."""
    assert to_make({0: 4, 1: 3}, 8, None) == {}
    assert to_make({0: 3, 1: 2}, 8, None) == {0: 1, 1: 2}
    assert to_make({0: 0, 1: 0}, 0, None) == {}
    assert to_make({0: 0, 1: 0}, 1, None) == {0: 1, 1: 1}
    assert to_make({}, 8, None) == {}


@given(AGES_MS)
def test_what_may_be_begun_is_never_deleted(age_ms: int) -> None:
    """Between a spare's last use and its deletion lie three of its lives."""
    spare = ids.conversation_id(ids.uuid7_hex(NOW_MS - age_ms, bytes(10)))
    assert is_fresh(spare, NOW_MS) == (age_ms < SPARE_LIFE_MS)
    assert bool(overdue([spare], NOW_MS)) == (age_ms > LEFTOVER_MS)
    assert not (overdue([spare], NOW_MS) and is_fresh(spare, NOW_MS - LEFTOVER_MS + SPARE_LIFE_MS))


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**48))
def test_what_a_key_named_is_never_deleted(digest: bytes, now_ms: int) -> None:
    """A name that tells no time is no spare and no leftover."""
    keyed = ids.conversation_id(ids.uuid8_hex(digest))
    assert not is_fresh(keyed, now_ms)
    assert overdue([keyed], now_ms) == ()
