"""One run of an engine."""

import asyncio

import pytest

from inference_consumers.engines.port import GenerationRequest, Started
from inference_consumers.generating.delta_stream import DeltaStream
from inference_consumers.generating.generation import Generation, Interrupt
from inference_consumers.generating.releaser import Releaser
from inference_consumers.publishing.attempt_log import AttemptLog
from schemas.errors import EngineFailed
from schemas.turns import LogAddress, Reason, Stage
from stream_processors.moderation.policy import EMPTY
from stream_processors.moderation.screen import Screen
from tests.inference_consumers.memory_log import MemoryLog
from tests.inference_consumers.scripted_engine import Script, ScriptedEngine, said
from tests.support.logs import TURNS, delta
from tests.support.waiting import until


class _Run:
    """A generation and where it speaks."""

    def __init__(self, script: Script) -> None:
        self.engine = ScriptedEngine(script)
        self.started: list[Started] = []
        self.tokens = 0
        request = GenerationRequest(id="g", messages=())
        self.generation = Generation(
            self.engine, request, behind=(1, 2), on_started=self.started.append, on_tokens=self._count
        )  # fmt: skip
        attempt = AttemptLog(MemoryLog(), LogAddress("conversations", 0))
        self.stream = DeltaStream(attempt, lambda seq, made: delta(TURNS[0], 1, seq, made.text), seq=0, merge_ms=0)
        self.releaser = Releaser(Screen(EMPTY, Stage.OUTPUT, "acme", "standard"))

    def _count(self, tokens: int) -> None:
        self.tokens += tokens

    def open(self) -> None:
        self.generation.open(self.releaser, self.stream)


async def test_nothing_is_shown_before_it_is_opened() -> None:
    """What the engine says beside the claim waits, and comes out first once the claim is ours."""
    run = _Run(said("a", "b", "c"))

    async def all_made() -> bool:
        return run.tokens == 3

    await until(all_made, every_s=0.001)
    assert run.stream.texts == []
    run.open()
    assert await run.generation.ended() is Reason.STOP
    assert run.stream.texts == ["a", "b", "c", ""]
    assert [(each.prompt_tokens, each.cached_tokens) for each in run.started] == [(10, 4)]


async def test_it_knows_what_it_stands_behind() -> None:
    """A run is good only behind exactly the tokens it was begun with."""
    run = _Run(said("a"))
    assert run.generation.is_behind([1, 2])
    assert not run.generation.is_behind([1, 2, 3])
    await run.generation.close()


async def test_an_interrupt_closes_the_engine_in_one_step() -> None:
    """The engine's iterator is closed when `ended` returns, and the first reason stays."""
    run = _Run(said("a", finish=None))
    run.open()

    async def shown() -> bool:
        return run.stream.texts == ["a"]

    await until(shown, every_s=0.001)
    run.generation.interrupt(Interrupt.CANCELLED)
    run.generation.interrupt(Interrupt.EXPIRED)
    assert await run.generation.ended() is Interrupt.CANCELLED
    assert run.engine.open_generations == 0


async def test_an_interrupt_after_the_end_changes_nothing() -> None:
    """Of the engine's end and a stop the first counts."""
    run = _Run(said("a"))
    run.open()
    assert await run.generation.ended() is Reason.STOP
    run.generation.interrupt(Interrupt.CANCELLED)
    assert await run.generation.ended() is Reason.STOP


async def test_an_engine_that_fails_is_told() -> None:
    """What the engine raises is raised by `ended`; so is an end without a reason."""
    failing = _Run(said("a", fails=EngineFailed("no")))
    failing.open()
    with pytest.raises(EngineFailed, match="no"):
        await failing.generation.ended()
    assert failing.stream.texts == ["a"]


async def test_closing_is_idempotent() -> None:
    """A run can be closed at any time, again and again, whatever it was about to raise."""
    run = _Run(said(fails=EngineFailed("no")))
    await asyncio.sleep(0)
    await run.generation.close()
    await run.generation.close()
    assert run.engine.open_generations == 0
