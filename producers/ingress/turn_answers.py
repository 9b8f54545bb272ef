"""Turns as whole answers, whichever place knows them."""

from dataclasses import dataclass, replace

from producers.publishing.acceptance import Admission
from producers.relay import answers, progress
from producers.relay.answers import Outcome, Particulars
from producers.relay.progress import Piece, Progress
from producers.relay.response_view import IN_PROGRESS, QUEUED
from producers.relay.turn_reader import Found
from schemas.records import TurnCompleted


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A turn as far as it has come.

    Args:
        question: the user's text.
        n: its place in the conversation, None while it has none.
        pieces: of the answer; of a row the whole is one.
    """

    particulars: Particulars
    status: str
    question: str
    pieces: tuple[Piece, ...]
    outcome: Outcome | None
    n: int | None

    @property
    def text(self) -> str:
        """The answer so far."""
        return "".join(piece.text for piece in self.pieces)


def of_found(found: Found, model: str) -> Shown:
    """The turn where it was found. `model`: what to say while nobody has started."""
    if found.row is not None:
        return of_row(found.row, model)
    if found.progress is not None:
        return of_progress(found.progress, model)
    if found.requested is None:
        raise ValueError("what was found is somewhere")
    requested = found.requested
    return Shown(
        particulars=answers.of_request(requested, requested.request.model or model),
        status=QUEUED,
        question=requested.request.text,
        pieces=(),
        outcome=None,
        n=None,
    )


def of_row(row: TurnCompleted, model: str) -> Shown:
    """A stored turn."""
    return Shown(
        particulars=answers.of_row(row, model),
        status=IN_PROGRESS,
        question=row.input_text or "",
        pieces=progress.of_row(row),
        outcome=answers.outcome_of_row(row),
        n=row.n,
    )


def of_progress(known: Progress, model: str) -> Shown:
    """A turn in its log."""
    question, n = "", None
    if known.accepted is not None:
        question, n = known.accepted.text, known.accepted.n
    if known.ended is not None:
        question, n = known.ended.input_text, known.ended.n
    return Shown(
        particulars=answers.of_log(known, model),
        status=QUEUED if known.started is None else IN_PROGRESS,
        question=question,
        pieces=tuple(known.pieces),
        outcome=answers.outcome(known),
        n=n,
    )


def of_admission(admission: Admission, *, is_background: bool) -> Particulars:
    """What the answer to a request repeats of it."""
    known = None if admission.found is None else admission.found.progress
    if known is not None and known.ended is not None:
        # Asked for again under a key: as it was told the first time.
        return replace(answers.of_log(known, admission.model), is_background=is_background)
    return answers.of_request(admission.requested, admission.model, is_background=is_background)
