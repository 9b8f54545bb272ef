"""One run of an engine for one attempt: begun beside the claim, opened when the claim is ours, ended in one step."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from enum import Enum

from inference_consumers.engines.port import Engine, GenerationRequest, Piece, Started
from inference_consumers.generating.delta_stream import DeltaStream
from inference_consumers.generating.releaser import Releaser
from inference_consumers.generating.repeating import Repetition
from schemas.errors import EngineFailed
from schemas.turns import Reason


class Interrupt(Enum):
    """Why a run is to end before its engine says so."""

    CANCELLED = "cancelled"
    EXPIRED = "expired"
    HANDED_OVER = "handed over"
    LOST = "lost"


class Generation:
    """An engine's answer on its way to the log.

    Args:
        engine: started.
        request: what it is asked for.
        behind: the released tokens that it goes on behind; see `is_behind`.
        repeats: the released text that it is going to repeat, since it can't go on behind it; else empty.
        on_started: called once the prompt is read.
        on_tokens: called with the number of tokens made, as they appear.
    """

    def __init__(
        self,
        engine: Engine,
        request: GenerationRequest,
        *,
        behind: Sequence[int] = (),
        repeats: str = "",
        on_started: Callable[[Started], None],
        on_tokens: Callable[[int], None],
    ) -> None:
        self._engine = engine
        self._request = request
        self._behind = list(behind)
        self._repetition = Repetition(repeats)
        self._on_started = on_started
        self._on_tokens = on_tokens
        self._early: list[Piece] = []
        self._unheard_tokens = 0
        self._releaser: Releaser | None = None
        self._stream: DeltaStream | None = None
        self._finish: Reason | None = None
        self._interrupt: Interrupt | None = None
        self._task = asyncio.create_task(self._run(), name=f"generate {request.id}")

    @property
    def unheard_tokens(self) -> int:
        """Made, and seen by no screen: the claim wasn't ours yet, or the answer had ended."""
        return self._unheard_tokens

    def is_behind(self, token_ids: list[int]) -> bool:
        """True when it goes on exactly behind these released tokens."""
        return self._behind == token_ids

    def open(self, releaser: Releaser, stream: DeltaStream) -> None:
        """The claim is ours: from here on pieces go through the screen into the log."""
        self._releaser, self._stream = releaser, stream
        for piece in self._early:
            if self._show(piece):
                self._task.cancel()
                break
        self._early.clear()

    def interrupt(self, why: Interrupt) -> None:
        """End within one step; the first reason stays."""
        if self._finish is None and self._interrupt is None:
            self._interrupt = why
            self._task.cancel()

    async def ended(self) -> Reason | Interrupt:
        """How it ended, once the engine has let go of it; WITHHELD when the screen stopped it.

        Raises:
            ContextTooLarge: there is no room for one token.
            EngineFailed: another attempt may succeed.
            EngineDead: none can.
        """
        await asyncio.wait({self._task})
        if self._finish is not None:
            return self._finish
        if self._interrupt is not None:
            return self._interrupt
        self._task.result()
        raise EngineFailed("the engine ended an answer without saying why")

    async def close(self) -> None:
        """The engine has let go of it, whatever it was about to say. Idempotent."""
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.exception()

    async def _run(self) -> None:
        async with aclosing(self._engine.generate(self._request)) as answer:
            async for item in answer:
                if isinstance(item, Started):
                    self._on_started(item)
                    continue
                self._on_tokens(len(item.token_ids))
                piece = self._repetition.beyond(item)
                if piece is None:
                    continue
                self._unheard_tokens += len(piece.token_ids)
                if self._releaser is None:
                    self._early.append(piece)
                elif self._show(piece):
                    return

    def _show(self, piece: Piece) -> bool:
        """True when the answer has ended with this piece."""
        releaser, stream = self._releaser, self._stream
        if releaser is None or stream is None:
            return False
        self._unheard_tokens -= len(piece.token_ids)
        for released in releaser.push(piece.text, piece.token_ids):
            stream.push(released.text, released.token_ids)
        if releaser.stopped_by is None and piece.finish is not None:
            for released in releaser.finish():
                stream.push(released.text, released.token_ids)
        if releaser.stopped_by is not None:
            self._finish = Reason.WITHHELD
        elif piece.finish is not None:
            self._finish = piece.finish
        elif stream.is_full:
            self._finish = Reason.LENGTH
        return self._finish is not None
