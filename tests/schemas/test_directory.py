"""What the directory's records come to."""

from hypothesis import given
from hypothesis import strategies as st

from schemas import ids
from schemas.directory import newest
from schemas.records import ConversationChanged

CONVERSATION = ids.conversation_id("0" * 32)
WRITES = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), min_size=1, max_size=8)


@given(WRITES)
def test_the_latest_holds_and_ends_are_for_ever(writes: list[tuple[int, bool, bool]]) -> None:
    """Words are those of the highest `at`, the last met of equals; retired or deleted once is so for good."""
    held: ConversationChanged | None = None
    for number, (at, is_retired, is_deleted) in enumerate(writes):
        held = newest(
            held,
            ConversationChanged(
                id=str(number), at=f"2026-01-0{at + 1}T00:00:00.000Z", tenant="t", conversation=CONVERSATION, user="u",
                created_at="2026-01-01T00:00:00.000Z", retired=is_retired, deleted=is_deleted,
            ),
        )  # fmt: skip
    assert held is not None
    assert int(held.id) == max(range(len(writes)), key=lambda number: (writes[number][0], number))
    assert held.retired is any(is_retired for _, is_retired, _ in writes)
    assert held.deleted is any(is_deleted for _, _, is_deleted in writes)
