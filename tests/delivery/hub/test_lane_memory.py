"""What is remembered of a lane is right or unknown, never wrong."""

from hypothesis import given
from hypothesis import strategies as st

from delivery.hub.lane_memory import LaneMemory
from schemas.ids import ConversationId

A, B = ConversationId("conv_a"), ConversationId("conv_b")


def test_who_was_not_heard_of_is_nowhere() -> None:
    """From `since` on an unknown conversation has no record; before it nothing is known."""
    memory = LaneMemory(10, 60.0, 0.0)
    memory.saw(A.encode(), 12)
    assert memory.first(A, 10) == 12
    assert memory.first(A, 15) == 15
    assert memory.first(B, 10) is None
    assert memory.first(B, 9) == 9


@given(st.lists(st.tuples(st.sampled_from([A, B]), st.booleans()), max_size=40), st.integers(0, 45))
def test_no_record_is_missed(lane: list[tuple[ConversationId, bool]], start: int) -> None:
    """However generations turn, the answer never lies behind a record of the conversation at or after the start."""
    memory = LaneMemory(0, 1.0, 0.0)
    now_s = 0.0
    for offset, (conversation, turns) in enumerate(lane):
        memory.saw(conversation.encode(), offset)
        now_s += 2.0 if turns else 0.0
        memory.turn(offset + 1, now_s)
    for conversation in (A, B):
        there = [offset for offset, (name, _) in enumerate(lane) if name == conversation and offset >= start]
        found = memory.first(conversation, start)
        assert (found is None and not there) or (found is not None and all(found <= offset for offset in there))
