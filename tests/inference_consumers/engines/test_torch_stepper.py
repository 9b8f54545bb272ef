from collections.abc import Sequence

import torch

from inference_consumers.engines.answer import AnswerText
from inference_consumers.engines.port import Piece, Started
from inference_consumers.engines.torch_sampler import Sampling
from inference_consumers.engines.torch_stepper import Item, Job, Stepper
from inference_consumers.engines.turn_schedule import BLOCK_TOKENS, Stretch, Turn, TurnSchedule
from schemas.turns import Reason

GREEDY = Sampling(temperature=0.0, top_p=1.0, seed="")
EOS = 99


class Counting:
    """A model whose next token is the last one and one more; it remembers who was in each step."""

    def __init__(self) -> None:
        self.steps: list[list[str]] = []

    def compute(self, stretches: Sequence[Stretch]) -> torch.Tensor:
        self.steps.append([stretch.turn.id for stretch in stretches])
        ends = [stretch.turn.ids[-1] for stretch in stretches if stretch.is_last]
        scores = torch.zeros((len(ends), 100))
        for row, end in enumerate(ends):
            scores[row, end + 1] = 1.0
        return scores


def _job(name: str, first: int = 0, room: int = 50) -> Job:
    turn = Turn(id=name, ids=[first], prompt_tokens=1)
    return Job(turn=turn, sampling=GREEDY, text=AnswerText(lambda token: bytes([token]), (), room))


def _stepper(slots: int = 4) -> tuple[Stepper, Counting]:
    model = Counting()
    return Stepper(model, TurnSchedule(slots, 64 * BLOCK_TOKENS, 64), {EOS}), model  # type: ignore[arg-type]


def _names(told: list[tuple[Job, Item]]) -> list[tuple[str, Item]]:
    return [(job.turn.id, item) for job, item in told]


def test_a_generation_starts_tells_and_ends() -> None:
    """First Started, then a piece a step, the last with its reason; then the engine is idle."""
    stepper, _model = _stepper()
    stepper.add(_job("a", first=65, room=2))
    assert _names(stepper.step()) == [
        ("a", Started(prompt_tokens=1, cached_tokens=0)),
        ("a", Piece(text="B", token_ids=(66,))),
    ]
    assert _names(stepper.step()) == [("a", Piece(text="C", token_ids=(67,), finish=Reason.LENGTH))]
    assert stepper.is_idle
    assert stepper.step() == []


def test_the_models_own_end_is_no_token_of_the_answer() -> None:
    """An end mark ends by STOP and is not among the ids."""
    stepper, _model = _stepper()
    stepper.add(_job("a", first=EOS - 1))
    assert _names(stepper.step())[1] == ("a", Piece(text="", token_ids=(), finish=Reason.STOP))


def test_a_cancelled_generation_is_not_in_the_next_step() -> None:
    """Cancelling takes one step at most, and the waiting one takes the slot in that very step."""
    stepper, model = _stepper(slots=1)
    for name in ("a", "b"):
        stepper.add(_job(name))
    stepper.step()
    stepper.cancel("a")
    stepper.cancel("unknown")
    stepper.step()
    assert model.steps == [["a"], ["b"]]
    assert (stepper.load().running, stepper.load().waiting) == (1, 0)


def test_turns_join_between_steps() -> None:
    """One that comes later is in the next step beside the others, which go on."""
    stepper, model = _stepper()
    stepper.add(_job("a"))
    stepper.step()
    stepper.add(_job("b", first=40))
    told = _names(stepper.step())
    assert model.steps[1] == ["a", "b"]
    assert [item.text for _name, item in told if isinstance(item, Piece)] == ["\x02", ")"]
