"""A turn's place in the engine."""

import asyncio

import pytest

from inference_consumers.engines.port import Engine
from inference_consumers.generating.generation import Interrupt
from inference_consumers.generating.seat import Seat
from inference_consumers.scheduling.entry import Entry
from schemas.turns import Options
from tests.inference_consumers.generating.courses import SOURCE, Stage, dispatch
from tests.inference_consumers.scripted_engine import ScriptedEngine, said
from tests.support.samples import TURN
from tests.support.waiting import until


def _seat(stage: Stage, **more: object) -> Seat:
    dispatched = dispatch(**more)
    assert dispatched.conversation is not None

    def free() -> None:
        stage.freed += 1

    entry = Entry.of(dispatched, SOURCE, TURN, dispatched.conversation)
    return Seat(stage.tools(), entry, dispatched, generation=5, on_slot_free=free)


async def test_what_nobody_heard_is_counted() -> None:
    """Tokens that a run made before it was left are discarded ones, beside those of failed engines before."""
    stage = Stage(ScriptedEngine(said("a", "b", finish=None)))
    seat = _seat(stage, discarded_tokens=3)
    seat.begin([], "")

    async def both() -> bool:
        return stage.tokens == 2

    await until(both, every_s=0.001)
    await seat.leave(keeps_slot=True)
    assert (seat.tally.discarded_tokens, seat.tally.prompt_tokens, stage.freed) == (5, 10, 0)
    await seat.leave()
    await seat.leave()
    assert (seat.is_taken, stage.freed) == (False, 1)


@pytest.mark.parametrize("engine", [None, ScriptedEngine(said("a"))])
async def test_a_seat_may_stay_empty(engine: Engine | None) -> None:
    """Without an engine, or with options that none could follow, nothing begins."""
    seat = _seat(Stage(engine), options=Options(temperature=-1.0))
    seat.begin([], "")
    seat.interrupt(Interrupt.LOST)
    assert not seat.is_taken


async def test_being_alone_ends_with_the_seat() -> None:
    """Who was let in alone is so until it leaves its slot; who is interrupted first never was."""
    stage = Stage(None)
    seat, interrupted = _seat(stage), asyncio.Event()
    interrupted.set()
    told: list[bool] = []
    await seat.be_alone(interrupted)
    told.append(seat.is_alone)
    interrupted.clear()
    stage.is_empty.set()
    await seat.be_alone(interrupted)
    told.append(seat.is_alone)
    await seat.leave(keeps_slot=True)
    told.append(seat.is_alone)
    await seat.leave()
    told.append(seat.is_alone)
    assert told == [False, True, True, False]
