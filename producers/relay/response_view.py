"""A turn as OpenAI's Response object, and as its stream of events: pure functions of the log.

`sequence_number`: created 0, queued 1, in_progress 2, output_item.added 3, content_part.added 4, the delta with seq k
is 5 + k, the closing ones follow on. Every stream has all of them, so `starting_after` holds on any gateway.
"""

from collections.abc import Iterable
from typing import Any, Final

from producers.relay.answers import FILTERED, Outcome, Particulars
from producers.relay.progress import Piece
from schemas import ids, instants
from schemas.errors import ERRORS
from schemas.turns import Reason

QUEUED: Final = "queued"
IN_PROGRESS: Final = "in_progress"
_FIRST_DELTA: Final = 5
_CALLER_STATUS: Final = 500  # below it the caller is at fault and is told the code; from it on it is a server_error

_STATUS: Final = {
    Reason.STOP: "completed",
    Reason.LENGTH: "incomplete",
    Reason.REFUSED: "incomplete",
    Reason.WITHHELD: "incomplete",
    Reason.CANCELLED: "cancelled",
    Reason.EXPIRED: "failed",
    Reason.FAILED: "failed",
}
_LAST_EVENT: Final = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "cancelled": "response.incomplete",
    "failed": "response.failed",
}
_DETAILS: Final = {
    Reason.LENGTH: {"reason": "max_output_tokens"},
    Reason.REFUSED: {"reason": "content_filter"},
    Reason.WITHHELD: {"reason": "content_filter"},
}


def response(particulars: Particulars, status: str, text: str = "", outcome: Outcome | None = None) -> dict[str, Any]:
    """The Response object.

    Args:
        status: `queued` or `in_progress`; how it ended says otherwise.
        text: the answer so far.
    """
    options = particulars.options
    final = status if outcome is None else _STATUS[outcome.reason]
    has_output = outcome is not None or bool(text)
    return {
        "id": particulars.turn,
        "object": "response",
        "created_at": particulars.created_at_ms // 1000,
        "completed_at": _completed_at(outcome),
        "status": final,
        "background": particulars.is_background,
        "conversation": {"id": ids.conversation_of(particulars.turn)} if particulars.stored else None,
        "error": _error(outcome),
        "incomplete_details": _DETAILS.get(outcome.reason) if outcome is not None else None,
        "instructions": particulars.instructions,
        "max_output_tokens": options.max_tokens,
        "metadata": dict(particulars.metadata),
        "model": particulars.model,
        "output": [_message(particulars, text, outcome)] if has_output else [],
        "parallel_tool_calls": True,
        "previous_response_id": particulars.parent,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": particulars.user,
        "service_tier": "default",
        "store": particulars.stored,
        "temperature": options.temperature,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": options.top_p,
        "truncation": "auto",
        "usage": _usage(outcome),
        "user": particulars.user,
    }


class ResponseStream:
    """The events of one Response, in order, each made once. Its caller feeds what the log says.

    Args:
        after: events up to this sequence number are left out; -1 = none.
    """

    def __init__(self, particulars: Particulars, *, after: int = -1) -> None:
        self.particulars = particulars
        self._after = after
        self._next = 0
        self._texts: list[str] = []

    def accepted(self) -> list[dict[str, Any]]:
        """The turn is durable: created and queued."""
        if self._next > 0:
            return []
        waiting = response(self.particulars, QUEUED)
        return [
            *self._event("response.created", response=waiting),
            *self._event("response.queued", response=waiting),
        ]

    def started(self) -> list[dict[str, Any]]:
        """A worker has claimed the turn."""
        events = self.accepted()
        if self._next == 2:  # noqa: PLR2004 - the table of sequence numbers at the top
            events += self._event("response.in_progress", response=response(self.particulars, IN_PROGRESS))
        return events

    def released(self, piece: Piece) -> list[dict[str, Any]]:
        """More of the answer was released."""
        events = self._opened("output_text")
        self._texts.append(piece.text)
        self._next = _FIRST_DELTA + piece.last_seq
        return events + self._event(
            "response.output_text.delta", **self._place(), delta=piece.text, logprobs=[], skip=not piece.text
        )

    def forgotten(self, pieces: Iterable[Piece]) -> None:
        """The log is gone and its deltas with it: what the client has seen is taken to cover them.

        A client that had got further than the opening events gets no text again, only what closes the response.
        """
        self._texts += [piece.text for piece in pieces]
        self._next = max(_FIRST_DELTA + 1, self._after + 1)

    def ended(self, outcome: Outcome) -> list[dict[str, Any]]:
        """The turn has ended: everything that closes it."""
        text = "".join(self._texts)
        is_refused = outcome.reason in FILTERED
        has_text = self._next > _FIRST_DELTA
        events = self._opened("refusal" if is_refused and not has_text else "output_text")
        if has_text or not is_refused:
            events += self._event("response.output_text.done", **self._place(), text=text, logprobs=[])
            events += self._event("response.content_part.done", **self._place(), part=_text_part(text))
        if is_refused:
            events += self._refused(outcome.refusal or "", index=1 if has_text else 0)
        item = _message(self.particulars, text, outcome)
        events += self._event("response.output_item.done", output_index=0, item=item)
        whole = response(self.particulars, IN_PROGRESS, text, outcome)
        return events + self._event(_LAST_EVENT[whole["status"]], response=whole)

    def _opened(self, part: str) -> list[dict[str, Any]]:
        """The events before the first delta."""
        events = self.started()
        if self._next > 3:  # noqa: PLR2004 - the table of sequence numbers at the top
            return events
        item = {**_message(self.particulars, "", None), "content": []}
        events += self._event("response.output_item.added", output_index=0, item=item)
        empty = _text_part("") if part == "output_text" else {"type": "refusal", "refusal": ""}
        return events + self._event("response.content_part.added", **self._place(), part=empty)

    def _refused(self, sentence: str, index: int) -> list[dict[str, Any]]:
        place = self._place(index)
        events: list[dict[str, Any]] = []
        if index > 0:
            events += self._event("response.content_part.added", **place, part={"type": "refusal", "refusal": ""})
        events += self._event("response.refusal.delta", **place, delta=sentence)
        events += self._event("response.refusal.done", **place, refusal=sentence)
        return events + self._event(
            "response.content_part.done", **place, part={"type": "refusal", "refusal": sentence}
        )

    def _place(self, index: int = 0) -> dict[str, Any]:
        return {"item_id": ids.output_item_id(self.particulars.turn), "output_index": 0, "content_index": index}

    def _event(self, kind: str, *, skip: bool = False, **fields: Any) -> list[dict[str, Any]]:
        number = self._next
        self._next += 1
        return [] if skip or number <= self._after else [{"type": kind, "sequence_number": number, **fields}]


def output_item(particulars: Particulars, text: str, outcome: Outcome | None) -> dict[str, Any]:
    """The item of the answer, as conversations list it."""
    return _message(particulars, text, outcome)


def input_item(particulars: Particulars, text: str) -> dict[str, Any]:
    """The item of the user's message."""
    return {
        "id": ids.input_item_id(particulars.turn),
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": text}],
    }


def listed(items: Iterable[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A page of a list."""
    data = list(items)
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }


def _message(particulars: Particulars, text: str, outcome: Outcome | None) -> dict[str, Any]:
    is_refused = outcome is not None and outcome.reason in FILTERED
    content: list[dict[str, Any]] = [_text_part(text)] if text or not is_refused else []
    if outcome is not None and is_refused:
        content.append({"type": "refusal", "refusal": outcome.refusal or ""})
    status = "in_progress" if outcome is None else "completed" if outcome.reason is Reason.STOP else "incomplete"
    return {
        "id": ids.output_item_id(particulars.turn),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content,
    }


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _error(outcome: Outcome | None) -> dict[str, Any] | None:
    if outcome is None or _STATUS[outcome.reason] != "failed":
        return None
    if outcome.error is None:
        return {"code": "server_error", "message": "the turn has failed"}
    is_callers = ERRORS[outcome.error.code].status < _CALLER_STATUS
    return {"code": outcome.error.code.value if is_callers else "server_error", "message": outcome.error.message}


def _usage(outcome: Outcome | None) -> dict[str, Any] | None:
    if outcome is None:
        return None
    return {
        "input_tokens": outcome.prompt_tokens,
        "input_tokens_details": {"cached_tokens": outcome.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": outcome.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": outcome.prompt_tokens + outcome.output_tokens,
    }


def _completed_at(outcome: Outcome | None) -> int | None:
    if outcome is None or outcome.reason is not Reason.STOP:
        return None
    return instants.to_ms(outcome.ended_at) // 1000
