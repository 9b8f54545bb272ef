"""The prompt: instructions, the chain of turns, the message, within what the model can read.

What doesn't fit is left out as whole turns, the oldest first, then the client's own older messages; never the
instructions, never the message itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas import codec
from schemas.errors import ERRORS, ErrorCode
from schemas.topics import MAX_RECORD_BYTES
from schemas.turns import Failure, Message, Role, Trimmed

# A TurnDispatched holds the prompt, and instructions and message once more; the rest of it is small.
_MAX_PROMPT_BYTES: Final = MAX_RECORD_BYTES - 150_000
# So many tokens of answer must remain, or the prompt counts as too large.
_LEAST_ANSWER_TOKENS: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Messages that stay or go together, with their tokens."""

    messages: tuple[Message, ...]
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How a model counts.

    Args:
        frame_tokens: what a prompt has beside its messages; framed_tokens: the same when it has instructions.
        max_model_len: tokens of prompt and answer together.
        count: tokens that a message adds.
    """

    frame_tokens: int
    framed_tokens: int
    max_model_len: int
    count: Callable[[Message], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a worker reads: at most `tokens` long, and at most `max_tokens` are to be generated."""

    messages: tuple[Message, ...]
    tokens: int
    max_tokens: int
    trimmed: Trimmed


def instructions_of(*parts: str | None) -> str | None:
    """The tenant's, the conversation's and the request's own as one text; None without any."""
    given = [part for part in parts if part]
    return "\n\n".join(given) if given else None


def build(
    *,
    instructions: str | None,
    turns: Sequence[Piece],
    history: Sequence[Message],
    text: str,
    max_tokens: int | None,
    answer_tokens: int,
    measure: Measure,
) -> Prompt | Failure:
    """The prompt, or why there can be none.

    Args:
        turns: the chain, newest first.
        history: the client's own earlier messages, oldest first; those of role `system` count as instructions.
        max_tokens: of the answer, as the client asked; None = as many as are left.
        answer_tokens: how much room is kept for an answer whose length nobody asked for.
    """
    leading = [message for message in history if message.role is Role.SYSTEM]
    head = [Message(Role.SYSTEM, instructions)] if instructions else []
    head += leading
    message = Message(Role.USER, text)
    fixed = [*head, message]
    used = (measure.framed_tokens if head else measure.frame_tokens) + sum(map(measure.count, fixed))
    room = measure.max_model_len - _LEAST_ANSWER_TOKENS
    # The fixed texts travel twice: in the prompt and beside it.
    used_bytes = 2 * sum(map(_bytes, fixed))
    if used > room or used_bytes > _MAX_PROMPT_BYTES:
        code = ErrorCode.CONTEXT_TOO_LARGE
        limit = f"{room} tokens" if used > room else f"{_MAX_PROMPT_BYTES // 2} bytes"
        return Failure(code, f"instructions and message alone exceed {limit}", ERRORS[code].retriable)
    reserve = min(answer_tokens if max_tokens is None else max_tokens, measure.max_model_len // 4)
    budget = _Budget(measure.max_model_len - reserve - used, _MAX_PROMPT_BYTES - used_bytes)
    spoken = [message for message in history if message.role is not Role.SYSTEM]
    own = [Piece(messages=(each,), tokens=measure.count(each)) for each in reversed(spoken)]
    kept_own = budget.take(own)
    kept_turns = budget.take(turns) if len(kept_own) == len(own) else []
    middle = [message for piece in (*kept_own, *kept_turns) for message in reversed(piece.messages)]
    tokens = used + budget.taken_tokens
    left_out = [*turns[len(kept_turns) :], *own[len(kept_own) :]]
    left = measure.max_model_len - tokens
    return Prompt(
        messages=(*head, *reversed(middle), message),
        tokens=tokens,
        max_tokens=left if max_tokens is None else min(max_tokens, left),
        trimmed=Trimmed(
            turns=len(turns) - len(kept_turns),
            messages=len(own) - len(kept_own),
            tokens=sum(piece.tokens for piece in left_out),
        ),
    )


class _Budget:
    """What is left of tokens and bytes while pieces are taken, newest first, up to the first that doesn't fit."""

    def __init__(self, tokens: int, size: int) -> None:
        self._tokens = tokens
        self._bytes = size
        self.taken_tokens = 0

    def take(self, pieces: Sequence[Piece]) -> list[Piece]:
        kept: list[Piece] = []
        for piece in pieces:
            size = sum(map(_bytes, piece.messages))
            if piece.tokens > self._tokens or size > self._bytes:
                break
            self._tokens -= piece.tokens
            self._bytes -= size
            self.taken_tokens += piece.tokens
            kept.append(piece)
        return kept


def _bytes(message: Message) -> int:
    """As JSON, escapes and all; 40 bytes hold the role and the punctuation."""
    return 40 + len(codec.encode(message.text))
