"""A turn as OpenAI's chat completion, whole or in chunks: pure functions of the log."""

from typing import Any, Final

from producers.relay.answers import FILTERED, Outcome, Particulars
from producers.relay.progress import Piece
from schemas import ids
from schemas.turns import Reason

FINISH: Final = {
    Reason.STOP: "stop",
    Reason.LENGTH: "length",
    Reason.REFUSED: "content_filter",
    Reason.WITHHELD: "content_filter",
    Reason.CANCELLED: "stop",
}
"""Expired and failed turns are errors, not completions."""


def completion(particulars: Particulars, text: str, outcome: Outcome) -> dict[str, Any]:
    """The whole completion of a turn that ended with an answer, or with a policy's sentence in place of one."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text + _sentence(text, outcome),
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISH[outcome.reason]}
    return _envelope(particulars, "chat.completion") | {
        "choices": [choice],
        "usage": _usage(outcome),
        "metadata": dict(particulars.metadata),
    }


class ChatStream:
    """The chunks of one completion, in order. Its caller feeds what the log says.

    Args:
        includes_usage: a last chunk tells the usage, and the others say that they don't.
    """

    def __init__(self, particulars: Particulars, *, includes_usage: bool) -> None:
        self.particulars = particulars
        self._includes_usage = includes_usage
        self._has_begun = False
        self._has_text = False

    def released(self, piece: Piece) -> list[dict[str, Any]]:
        """More of the answer was released."""
        if not piece.text:
            return []
        self._has_text = True
        return [*self._begun(), self._chunk({"content": piece.text})]

    def ended(self, outcome: Outcome) -> list[dict[str, Any]]:
        """The turn has ended, not in an error."""
        chunks = self._begun()
        sentence = _sentence("..." if self._has_text else "", outcome)
        if sentence:
            chunks.append(self._chunk({"content": sentence}))
        chunks.append(self._chunk({}, finish=FINISH[outcome.reason]))
        if self._includes_usage:
            chunks.append({**self._envelope(), "choices": [], "usage": _usage(outcome)})
        return chunks

    def _begun(self) -> list[dict[str, Any]]:
        if self._has_begun:
            return []
        self._has_begun = True
        return [self._chunk({"role": "assistant", "content": "", "refusal": None})]

    def _chunk(self, delta: dict[str, Any], *, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._envelope() | {"choices": [choice]} | ({"usage": None} if self._includes_usage else {})

    def _envelope(self) -> dict[str, Any]:
        return _envelope(self.particulars, "chat.completion.chunk")


def _envelope(particulars: Particulars, kind: str) -> dict[str, Any]:
    return {
        "id": ids.completion_id(particulars.turn),
        "object": kind,
        "created": particulars.created_at_ms // 1000,
        "model": particulars.model,
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _sentence(text: str, outcome: Outcome) -> str:
    """The policy's sentence as content, apart from what was released before it."""
    if outcome.reason not in FILTERED or not outcome.refusal:
        return ""
    return f"\n\n{outcome.refusal}" if text else outcome.refusal


def _usage(outcome: Outcome) -> dict[str, Any]:
    return {
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.output_tokens,
        "total_tokens": outcome.prompt_tokens + outcome.output_tokens,
        "prompt_tokens_details": {"cached_tokens": outcome.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
