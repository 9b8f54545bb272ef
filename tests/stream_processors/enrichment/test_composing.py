"""What the gate writes in the conversation log."""

from dataclasses import replace

from infra.runtime.band_settings import BandSettings
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


def test_a_dispatch_bears_what_befell_its_turn() -> None:
    """Failures, what they made for nothing, the mark of a fallback and its sentence reach the worker."""
    turn = replace(TURN, status=Status.ACTIVE, pool="small", failures=2, discarded_tokens=9, is_degraded=True)
    sent = composing.dispatched(
        HERE, turn, allowed(CONVERSATION, "hi", turn=TURN.turn), prompt=None, deployment=None,
        band=BandSettings(max_attempts=3), fallback_sentence="Sorry.",
    )  # fmt: skip
    assert (sent.failures, sent.discarded_tokens, sent.degraded, sent.max_attempts) == (2, 9, True, 3)
    assert sent.fallback_sentence == "Sorry."


def test_the_largest_end_fits_a_record() -> None:
    """A message and instructions of the largest sizes leave out the instructions, not the message."""
    large = allowed(CONVERSATION, "m" * 196_608, turn=TURN.turn, instructions="i" * 196_608)
    end = composing.ended(HERE, TURN, large)
    assert len(codec.encode(end)) < MAX_LOG_RECORD_BYTES
    assert end.input_text == large.request.text
    assert end.detail.instructions is None
    small = allowed(CONVERSATION, "hi", turn=TURN.turn, instructions="Be brief.")
    assert composing.ended(HERE, TURN, small).detail.instructions == "Be brief."
