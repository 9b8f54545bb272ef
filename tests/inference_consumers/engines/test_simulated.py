import asyncio
from contextlib import aclosing

import pytest

from inference_consumers.engines.port import Piece
from inference_consumers.engines.settings import SimulatedSettings
from inference_consumers.engines.simulated import SimulatedEngine
from schemas.errors import EngineDead, EngineFailed
from schemas.turns import Reason
from tests.support.engine_contract import answered, asking


def _engine(**settings: object) -> SimulatedEngine:
    return SimulatedEngine(SimulatedSettings(**{"ttft_ms": 1.0, "tokens_per_s": 1000.0, **settings}))  # type: ignore[arg-type]


async def test_the_contracts_two_messages_are_answered_to_the_letter() -> None:
    """`echo:` and `tokens:` come out exactly and end by STOP."""
    engine = _engine()
    echoed = await answered(engine, asking("echo: a \N{GRINNING FACE} b"))
    assert (echoed.text, echoed.finish) == ("a \N{GRINNING FACE} b", Reason.STOP)
    counted = await answered(engine, asking("tokens: 12"))
    assert counted.text == " ".join(f"w{place}" for place in range(12))
    assert len(counted.token_ids) == 12


async def test_hundreds_of_turns_share_one_timer() -> None:
    """500 turns at once all get their whole answers, and no turn is left behind in the engine."""
    engine = _engine(slots=100)
    answers = await asyncio.gather(*(answered(engine, asking(f"tokens: {20 + place % 7}")) for place in range(500)))
    assert [len(answer.token_ids) for answer in answers] == [20 + place % 7 for place in range(500)]
    assert (engine.load().running, engine.load().waiting) == (0, 0)


async def test_an_attempt_that_was_cut_at_the_very_end_ends_at_once() -> None:
    """Behind all tokens of an answer there is only its end."""
    engine = _engine()
    whole = await answered(engine, asking("tokens: 4"))
    rest = await answered(engine, asking("tokens: 4", emitted_token_ids=whole.token_ids, emitted_text=whole.text))
    assert (rest.text, rest.token_ids, rest.finish) == ("", (), Reason.STOP)


async def test_a_waiting_turn_can_be_closed_before_it_has_a_slot() -> None:
    """A turn that is closed while it waits never takes a slot, and those behind it move up."""
    engine = _engine(slots=1, tokens_per_s=50.0)
    async with aclosing(engine.generate(asking("tokens: 100"))) as first:
        await anext(first)
        waiting = asyncio.create_task(anext(engine.generate(asking("tokens: 1"))))
        await asyncio.sleep(0)
        assert (engine.load().running, engine.load().waiting) == (1, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert engine.load().waiting == 0
    assert engine.load().running == 0


async def test_a_failing_generation_shows_what_it_made_and_then_fails() -> None:
    """fail_rate = 1: some tokens, then EngineFailed; the engine goes on."""
    engine = _engine(fail_rate=1.0, fault_after_tokens=2)
    seen = []

    async def reading() -> None:
        async for item in engine.generate(asking("tokens: 9")):
            seen.append(item)

    with pytest.raises(EngineFailed, match="fail_rate"):
        await reading()
    assert sum(len(item.token_ids) for item in seen if isinstance(item, Piece)) == 2
    assert engine.load().running == 0


async def test_a_dying_engine_takes_all_along() -> None:
    """die_rate = 1: every generation sees EngineDead, and none can be started."""
    engine = _engine(die_rate=1.0)
    dying = [asyncio.create_task(answered(engine, asking("tokens: 9"))) for _ in range(3)]
    results = await asyncio.gather(*dying, return_exceptions=True)
    assert all(isinstance(result, EngineDead) for result in results)
    with pytest.raises(EngineDead):
        await answered(engine, asking("tokens: 9"))


async def test_poison_takes_all_along_every_time() -> None:
    """A message with the poison's text kills each engine that meets it, also behind what an earlier one showed."""
    for emitted in ((), (0, 1)):
        engine = _engine(poison_text="arsenic", fault_after_tokens=0)
        innocent = asyncio.create_task(answered(engine, asking("tokens: 9")))
        await asyncio.sleep(0)
        with pytest.raises(EngineDead):
            await answered(engine, asking("echo: arsenic and lace", emitted_token_ids=emitted))
        with pytest.raises(EngineDead):
            await innocent
    assert (await answered(_engine(poison_text="arsenic"), asking("echo: lace"))).text == "lace"


async def test_stopping_ends_what_runs() -> None:
    """Readers of a stopped engine see EngineFailed."""
    engine = _engine(tokens_per_s=1.0)
    reading = asyncio.create_task(answered(engine, asking("tokens: 9")))
    await asyncio.sleep(0)
    await engine.stop()
    with pytest.raises(EngineFailed, match="stopped"):
        await reading
