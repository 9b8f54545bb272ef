"""The directory's own topics: what holds of a conversation, whoever wrote last."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from schemas.records import ConversationChanged
from stream_processors.enrichment.listing import Listing, retired
from tests.stream_processors.enrichment.world import new_conversation
from tests.support.samples import sample

BORN: ConversationChanged = replace(
    sample(ConversationChanged), at="2026-01-01T00:00:00.000Z", retired=False, deleted=False, metadata={"v": "0"}
)
NAME = BORN.conversation or new_conversation()


def changed(version: int, **more: object) -> ConversationChanged:
    """The conversation as a gateway changed it, some seconds later."""
    at = f"2026-01-01T00:00:{version:02d}.000Z"
    return replace(BORN, id=str(version), at=at, metadata={"v": str(version)}, **more)  # type: ignore[arg-type]


def listing(*log: ConversationChanged) -> Listing:
    made = Listing()
    for record in log:
        made.put(0, record)
    return made


def test_whoever_rides_a_lane_is_not_listed() -> None:
    """Born in a lane, retired or deleted: the last record says so, and nothing is kept of it."""
    for record in (replace(BORN, retired=True), replace(BORN, deleted=True)):
        assert listing(record).find(NAME) is None
        assert list(listing(BORN, record)) == []
    assert list(listing(BORN)) == [(0, BORN)]


def test_a_change_made_meanwhile_is_not_lost() -> None:
    """A gateway's change that landed before our record but wasn't read by us still holds, and is to be said again."""
    both = listing(BORN, changed(1), retired(BORN))
    found = both.find(NAME)
    assert found == replace(changed(1), retired=True)
    both.put(0, retired(found))
    assert both.find(NAME) is None


def test_what_the_gate_knows_to_be_deleted_stays_so() -> None:
    """A gateway wrote over the deletion, and the listing had let go of it: the gate's word holds."""
    assert retired(changed(1), is_deleted=True).deleted
    assert not retired(changed(1)).deleted


def test_a_gateway_that_has_not_heard_undoes_nothing() -> None:
    """Behind our record it is listed again, so that somebody says it once more; its own words stay."""
    late = listing(BORN, retired(BORN), changed(2))
    assert late.find(NAME) == changed(2)
    late.put(0, retired(changed(2)))
    assert late.find(NAME) is None


WRITES = st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.booleans()), min_size=1, max_size=6)


@given(WRITES)
def test_saying_it_ends_and_says_all_that_holds(writes: list[tuple[int, bool, bool]]) -> None:
    """Whatever stands in the log: one record more and it is settled; its words are the last one's or newer."""
    log = [BORN, *(changed(version, retired=lane, deleted=gone) for version, lane, gone in writes)]
    found = listing(*log).find(NAME)
    if found is None:
        last = log[-1]
        assert last.retired or last.deleted
        return
    assert found.at >= log[-1].at
    settled = listing(*log, retired(found))
    assert settled.find(NAME) is None
