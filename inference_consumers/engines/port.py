"""What a worker asks of an engine, and what every engine owes it.

An engine owes: order within a generation, text that is exactly what its token ids add, and an end to the work within
one step of the iterator being closed. A worker releases text only behind its screen: no engine ever meets a client.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.errors import CallerError
from schemas.turns import Message, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One generation of one attempt at a turn.

    Args:
        id: unique among all generations of this engine.
        messages: the prompt; the engine renders it by its model's chat template.
        emitted_token_ids: what earlier attempts released: the generation goes on behind it.
        emitted_text: the text of these ids, for engines whose ids mean nothing to others.
        max_tokens: most tokens to make now, behind the emitted ones; None = as many as the model has room for,
            0 = the emitted ones are all, and the answer ends by LENGTH.
        temperature: 0 is greedy. top_p: in (0, 1].
        stop: texts that end the answer and are no part of it.
        seed: the same seed, prompt and place in the answer draw the same token, whatever else is in the batch.
        priority: lower is started first where the engine itself has to choose.
    """

    id: str
    messages: tuple[Message, ...]
    emitted_token_ids: tuple[int, ...] = ()
    emitted_text: str = ""
    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    priority: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no engine could follow."""
        if self.max_tokens is not None and self.max_tokens < 0:
            raise CallerError("max_tokens must not be negative", param="max_tokens")
        if self.temperature < 0:
            raise CallerError("temperature must not be negative", param="temperature")
        if not 0 < self.top_p <= 1:
            raise CallerError("top_p must be above 0 and at most 1", param="top_p")
        if "" in self.stop:
            raise CallerError("a stop text must not be empty", param="stop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The engine has taken the generation in and its prompt is read; always the first item.

    An engine that can only estimate its counts then sends a second one, with the true counts, before the last piece.

    Args:
        prompt_tokens: tokens of the prompt, without the emitted ones.
        cached_tokens: those of prompt and emitted text that were still in the engine's memory.
    """

    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The next stretch of the answer, cut between tokens and never inside a character.

    Args:
        text: exactly what `token_ids` add to the answer. One exception: the last piece of an answer ended by a stop
            text holds the ids up to the end of that text, but only the text before it.
        token_ids: in order; the token that ends a model's answer is not among them. May be empty in the last piece.
        finish: STOP or LENGTH in the last piece, None before.
    """

    text: str
    token_ids: tuple[int, ...]
    finish: Reason | None = None


Answer = AsyncGenerator[Started | Piece, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What a started engine serves.

    Args:
        engine: `torch`, `vllm`, `openai` or `simulated`.
        model: the model's name. version: changes whenever its answers may.
        max_model_len: tokens of prompt and answer together.
        slots: generations that it runs at once.
        can_continue: True when it goes on behind emitted ids; else an attempt begins the answer anew.
    """

    engine: str
    model: str
    version: str
    max_model_len: int
    slots: int
    can_continue: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """How busy an engine is now.

    Args:
        slots: as in EngineInfo. running: generations in a slot. waiting: generations without one.
        kv_usage: share of its key-value memory in use, 0 to 1.
        cached_tokens: prompt tokens kept for prompts to come.
    """

    slots: int
    running: int
    waiting: int
    kv_usage: float = 0.0
    cached_tokens: int = 0


class Engine(Protocol):
    """A model that answers. Made from settings, without weights; everything begins with `start`."""

    async def start(self) -> EngineInfo:
        """Load the model; afterwards `generate` may be called.

        Raises:
            EngineDead: it can't serve: files missing, library missing, out of memory.
        """
        ...

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt as this engine counts them (an estimate where its tokenizer is out of reach)."""
        ...

    def generate(self, request: GenerationRequest) -> Answer:
        """Answer: one Started, then pieces, the last with `finish`. Closing it ends the work within one step.

        Raises (while iterated):
            ContextTooLarge: the prompt leaves no room for one token.
            EngineFailed: this generation is lost; another attempt may succeed.
            EngineDead: all are lost and none can be started: the process must end without committing.
        """
        ...

    def load(self) -> EngineLoad:
        """How busy it is now; cheap, never blocks."""
        ...

    async def stop(self) -> None:
        """End all generations and give everything back. Idempotent."""
        ...
