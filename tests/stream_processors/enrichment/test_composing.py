"""What the gate writes in the conversation log."""

from schemas import codec
from schemas.topics import MAX_LOG_RECORD_BYTES
from schemas.turns import LogAddress, Reason
from stream_processors.enrichment import composing
from stream_processors.enrichment.state import OpenTurn, Status
from tests.stream_processors.enrichment.simulation import CONVERSATION, turn_id
from tests.stream_processors.enrichment.world import allowed

HERE = composing.Scene(
    conversation=CONVERSATION, tenant="acme", user="u", log=LogAddress("conversations", 0), stored=True,
    at="2026-01-31T12:00:00.123Z",
)  # fmt: skip
TURN = OpenTurn(turn=turn_id(1), status=Status.ENDING, order=0, deadline_ms=0, parent=None, reason=Reason.CANCELLED)


def test_the_largest_end_fits_a_record() -> None:
    """A message and instructions of the largest sizes leave out the instructions, not the message."""
    large = allowed(CONVERSATION, "m" * 196_608, turn=TURN.turn, instructions="i" * 196_608)
    end = composing.ended(HERE, TURN, large)
    assert len(codec.encode(end)) < MAX_LOG_RECORD_BYTES
    assert end.input_text == large.request.text
    assert end.detail.instructions is None
    small = allowed(CONVERSATION, "hi", turn=TURN.turn, instructions="Be brief.")
    assert composing.ended(HERE, TURN, small).detail.instructions == "Be brief."
