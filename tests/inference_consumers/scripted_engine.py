"""An engine that says what a test tells it to, when it is told."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from inference_consumers.engines.port import Answer, EngineInfo, EngineLoad, GenerationRequest, Piece, Started
from schemas.turns import Message, Reason


@dataclass
class Script:
    """One generation.

    Args:
        pieces: what it says, an exception raises.
        is_open: cleared, it waits before the next piece.
    """

    pieces: Sequence[Piece | Exception]
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    prompt_tokens: int = 10
    cached_tokens: int = 4


class ScriptedEngine:
    """See `engines.port.Engine`. Generations take the scripts in order; the last one is taken again and again."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self.requests: list[GenerationRequest] = []
        self.open_generations = 0

    async def start(self) -> EngineInfo:
        """Ready."""
        return EngineInfo(
            engine="scripted", model="m", version="1", max_model_len=100, slots=4, can_continue=True
        )  # fmt: skip

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Always ten."""
        del messages
        return 10

    async def generate(self, request: GenerationRequest) -> Answer:
        """Play the next script."""
        script = self._scripts[0] if len(self._scripts) == 1 else self._scripts.pop(0)
        self.requests.append(request)
        self.open_generations += 1
        try:
            yield Started(prompt_tokens=script.prompt_tokens, cached_tokens=script.cached_tokens)
            for piece in script.pieces:
                await script.is_open.wait()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
            if not any(isinstance(piece, Piece) and piece.finish for piece in script.pieces):
                await asyncio.Event().wait()
        finally:
            self.open_generations -= 1

    def load(self) -> EngineLoad:
        """As many as are open."""
        return EngineLoad(slots=4, running=self.open_generations, waiting=0)

    async def stop(self) -> None:
        """Nothing to give back."""


def said(
    *texts: str, finish: Reason | None = Reason.STOP, is_open: bool = True, fails: Exception | None = None
) -> Script:
    """A script of one token a text; `finish` None never ends by itself."""
    pieces: list[Piece | Exception] = [Piece(text=text, token_ids=(number,)) for number, text in enumerate(texts)]
    if fails is not None:
        pieces.append(fails)
    elif finish is not None:
        pieces.append(Piece(text="", token_ids=(), finish=finish))
    script = Script(pieces)
    if is_open:
        script.is_open.set()
    return script
