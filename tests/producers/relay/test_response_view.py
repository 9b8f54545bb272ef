from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from producers.relay import answers
from producers.relay.progress import Piece, Progress
from producers.relay.response_view import QUEUED, ResponseStream, input_item, listed, response
from schemas.errors import ErrorCode
from schemas.turns import Failure, Reason
from tests.producers.support import records
from tests.producers.support.asked import requested

ASKED = requested()
PARTICULARS = answers.of_request(ASKED, "m")
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def _outcome(reason: Reason, deltas: int = 2) -> answers.Outcome:
    progress = Progress(records.accepted(ASKED).turn or PARTICULARS.turn)
    refusal = "no" if reason in answers.FILTERED else None
    error = Failure(ErrorCode.ENGINE_FAILED, "broken", True) if reason is Reason.FAILED else None
    progress.take_logged(records.accepted(ASKED))
    progress.take_logged(records.started(ASKED))
    for seq in range(deltas):
        progress.take_logged(records.delta(ASKED, seq, "x"))
    progress.take_logged(records.ended(ASKED, deltas, reason, refusal=refusal, error=error))
    outcome = answers.outcome(progress)
    assert outcome is not None
    return outcome


def _events(pieces: list[Piece], outcome: answers.Outcome, after: int = -1) -> list[dict[str, Any]]:
    stream = ResponseStream(PARTICULARS, after=after)
    events = [*stream.accepted(), *stream.started()]
    for piece in pieces:
        events += stream.released(piece)
    return events + stream.ended(outcome)


@pytest.mark.parametrize("reason", list(Reason))
@pytest.mark.parametrize("deltas", [0, 2])
def test_every_stream_is_whole(reason: Reason, deltas: int) -> None:
    """However a turn ends, its events are numbered without a gap, and the official types read each of them."""
    pieces = [Piece(seq, seq, "x") for seq in range(deltas)]
    events = _events(pieces, _outcome(reason, deltas))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events][:5] == [
        "response.created", "response.queued", "response.in_progress", "response.output_item.added",
        "response.content_part.added",
    ]  # fmt: skip
    for event in events:
        if reason is not Reason.CANCELLED or event["type"] != "response.incomplete":
            EVENTS.validate_python(event)


@pytest.mark.parametrize(
    ("reason", "status", "last", "details"),
    [
        (Reason.STOP, "completed", "response.completed", None),
        (Reason.LENGTH, "incomplete", "response.incomplete", "max_output_tokens"),
        (Reason.REFUSED, "incomplete", "response.incomplete", "content_filter"),
        (Reason.WITHHELD, "incomplete", "response.incomplete", "content_filter"),
        (Reason.CANCELLED, "cancelled", "response.incomplete", None),
        (Reason.EXPIRED, "failed", "response.failed", None),
        (Reason.FAILED, "failed", "response.failed", None),
    ],
)
def test_how_a_turn_ended(reason: Reason, status: str, last: str, details: str | None) -> None:
    """Each reason has its status, last event and details, as the contract maps them."""
    event = _events([Piece(0, 0, "x"), Piece(1, 1, "x")], _outcome(reason))[-1]
    assert (event["type"], event["response"]["status"]) == (last, status)
    assert (event["response"]["incomplete_details"] or {}).get("reason") == details
    assert (event["response"]["error"] is not None) == (status == "failed")
    Response.model_validate(event["response"])


@given(st.lists(st.text(min_size=1, max_size=3), max_size=6), st.integers(-1, 20), st.sampled_from(list(Reason)))
def test_a_later_beginning_is_the_rest(texts: list[str], after: int, reason: Reason) -> None:
    """A stream from behind an event is exactly what stands behind it in the whole stream."""
    pieces = [Piece(seq, seq, text) for seq, text in enumerate(texts)]
    outcome = _outcome(reason, len(texts))
    whole = _events(pieces, outcome)
    assert _events(pieces, outcome, after) == [event for event in whole if event["sequence_number"] > after]


def test_merged_deltas_bear_the_last_number() -> None:
    """Going on behind a merged delta misses nothing and repeats nothing."""
    events = _events([Piece(0, 3, "abcd"), Piece(4, 4, "e")], _outcome(Reason.STOP))
    deltas = [(event["sequence_number"], event["delta"]) for event in events if event["type"].endswith("text.delta")]
    assert deltas == [(8, "abcd"), (9, "e")]


def test_a_log_that_is_gone() -> None:
    """Who had seen deltas of a log that is gone is told how the response closed, with all its text."""
    stream = ResponseStream(PARTICULARS, after=40)
    stream.forgotten([Piece(0, 0, "whole")])
    events = stream.ended(_outcome(Reason.STOP))
    assert events[0]["sequence_number"] == 41
    assert events[0]["text"] == "whole"
    assert events[-1]["type"] == "response.completed"


def test_a_waiting_response_has_no_output() -> None:
    """Until something was released or the turn has ended there is no output."""
    waiting = response(PARTICULARS, QUEUED)
    assert (waiting["status"], waiting["output"], waiting["usage"]) == ("queued", [], None)
    assert Response.model_validate(waiting).user == "anna"


def test_lists_tell_their_ends() -> None:
    """A page names its first and last item; an empty one names none."""
    item = input_item(PARTICULARS, "hi")
    assert listed([item], has_more=True)["first_id"] == listed([item], has_more=True)["last_id"] == item["id"]
    assert listed([], has_more=False)["last_id"] is None
