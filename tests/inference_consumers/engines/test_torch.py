import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from inference_consumers.engines.port import Piece
from inference_consumers.engines.settings import TorchSettings
from inference_consumers.engines.torch import TorchEngine
from schemas.errors import EngineDead, EngineFailed
from schemas.turns import Message, Role
from tests.support.engine_contract import answered, asking

# 300 s: a model of 135 million weights, on cores that other tests may hold as well.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine(model_dir: Path) -> AsyncIterator[TorchEngine]:
    made = TorchEngine(model_dir, TorchSettings(threads=2, slots=4))
    await made.start()
    yield made
    await made.stop()


async def test_the_model_answers_with_sense(engine: TorchEngine) -> None:
    """SmolLM2 knows the capital of France and ends its sentence itself."""
    answer = await answered(engine, asking("What is the capital of France?", max_tokens=40))
    assert "Paris" in answer.text
    assert answer.finish == "stop"


async def test_a_conversations_next_turn_reads_only_what_is_new(engine: TorchEngine) -> None:
    """The second turn finds the first one's prompt and answer in memory."""
    first = asking("My name is Ada. What is my name?", max_tokens=20)
    said = await answered(engine, first)
    talk = (*first.messages, Message(Role.ASSISTANT, said.text), Message(Role.USER, "Say it again."))
    again = await answered(engine, asking("", messages=talk, max_tokens=3))
    assert again.started.cached_tokens >= said.started.prompt_tokens
    assert again.started.cached_tokens < again.started.prompt_tokens


async def test_a_seed_draws_the_same_answer_also_when_taken_over(engine: TorchEngine) -> None:
    """One seed gives one answer; an attempt behind its first tokens draws on as it would have; another seed differs."""
    warm = {"temperature": 1.0, "top_p": 0.95, "max_tokens": 12}
    one, two = [await answered(engine, asking("Invent a name.", seed=7, **warm)) for _ in range(2)]
    assert one.token_ids == two.token_ids
    rest = asking("Invent a name.", seed=7, emitted_token_ids=one.token_ids[:5], **(warm | {"max_tokens": 7}))
    assert one.token_ids[:5] + (await answered(engine, rest)).token_ids == one.token_ids
    assert (await answered(engine, asking("Invent a name.", seed=8, **warm))).token_ids != one.token_ids


async def test_the_loop_lives_while_the_model_computes(engine: TorchEngine) -> None:
    """Between two tokens the event loop runs many times: nothing of a step holds it."""
    turns = 0
    async with aclosing(engine.generate(asking("Tell me a story.", max_tokens=200))) as answer:
        await anext(answer)
        await anext(answer)
        step = asyncio.ensure_future(anext(answer))
        while not step.done():
            turns += 1
            await asyncio.sleep(0.001)
    assert turns > 5


async def test_more_turns_than_slots_all_end(engine: TorchEngine) -> None:
    """Ten turns through four slots: each ends, none is lost."""
    answers = await asyncio.gather(*(answered(engine, asking(f"Count to {n}.", max_tokens=4)) for n in range(10)))
    assert all(len(answer.token_ids) <= 4 for answer in answers)
    assert (engine.load().running, engine.load().waiting) == (0, 0)


async def test_a_stopped_engine_ends_its_readers(model_dir: Path) -> None:
    """Readers of a stopped engine see EngineFailed, and so does whoever comes later; stopping twice is no error."""
    engine = TorchEngine(model_dir, TorchSettings(threads=2))
    await engine.start()
    begun = asyncio.Event()

    async def reading() -> None:
        async for item in engine.generate(asking("Tell me a story.", max_tokens=2000)):
            if isinstance(item, Piece):
                begun.set()

    reader = asyncio.create_task(reading())
    await begun.wait()
    await engine.stop()
    await engine.stop()
    with pytest.raises(EngineFailed, match="stopped"):
        await reader
    with pytest.raises(EngineFailed):
        await anext(engine.generate(asking("hi")))


async def test_a_step_that_raises_is_the_engines_death(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error inside the thread reaches every reader as EngineDead, with its text."""
    from inference_consumers.engines.torch_model import TorchModel  # noqa: PLC0415 - imported as the engine does

    engine = TorchEngine(model_dir, TorchSettings(threads=2))
    await engine.start()
    monkeypatch.setattr(TorchModel, "compute", lambda *_given: 1 / 0)
    with pytest.raises(EngineDead, match="division by zero"):
        await anext(engine.generate(asking("hi")))
    await engine.stop()


async def test_too_little_memory_is_said_at_the_start(model_dir: Path) -> None:
    """A cache that holds no conversation is refused by the setting's name."""
    engine = TorchEngine(model_dir, TorchSettings(threads=2, kv_cache_mb=1))
    with pytest.raises(EngineDead, match="kv_cache_mb"):
        await engine.start()
    await engine.stop()
