"""The `torch` engine's loop in three verbs: schedule, compute, hand out. In the engine's thread; knows no loop."""

from collections.abc import Collection
from dataclasses import dataclass, field

from inference_consumers.engines.answer import AnswerText
from inference_consumers.engines.mailbox import Mailbox
from inference_consumers.engines.port import EngineLoad, Piece, Started
from inference_consumers.engines.torch_model import TorchModel
from inference_consumers.engines.torch_sampler import Sampling, draw
from inference_consumers.engines.turn_schedule import Stretch, Turn, TurnSchedule
from schemas.turns import Reason

Item = Started | Piece


@dataclass(slots=True, kw_only=True)
class Job:
    """One generation on its way through the engine.

    Args:
        text: makes pieces of its tokens, and ends it by stop text or length.
        mailbox: written to by the event loop only.
    """

    turn: Turn
    sampling: Sampling
    text: AnswerText
    mailbox: Mailbox[Item] = field(default_factory=Mailbox)
    has_started: bool = False


class Stepper:
    """All generations of one engine.

    Args:
        eos_ids: tokens by which the model ends an answer.
    """

    def __init__(self, model: TorchModel, schedule: TurnSchedule, eos_ids: Collection[int]) -> None:
        self._model = model
        self._schedule = schedule
        self._eos_ids = eos_ids
        self._jobs: dict[str, Job] = {}

    @property
    def is_idle(self) -> bool:
        """True when a step would do nothing."""
        return not self._jobs

    def add(self, job: Job) -> None:
        """Take a generation in; it joins at the next step in which there is room."""
        self._jobs[job.turn.id] = job
        self._schedule.add(job.turn)

    def cancel(self, turn_id: str) -> None:
        """Forget a generation; the next step is without it. Unknown ones are no error."""
        if self._jobs.pop(turn_id, None) is not None:
            self._schedule.remove(turn_id)

    def step(self) -> list[tuple[Job, Item]]:
        """Move every generation on; returns what is to be told, in order."""
        stretches = self._schedule.plan()
        if not stretches:
            return []
        scores = self._model.compute(stretches)
        drawing = [self._jobs[stretch.turn.id] for stretch in stretches if stretch.is_last]
        _advance(stretches)
        drawn = draw(scores, [job.sampling for job in drawing], [_answer(job) for job in drawing])
        told: list[tuple[Job, Item]] = []
        for job, token_id in zip(drawing, drawn, strict=True):
            told.extend((job, item) for item in self._take(job, token_id))
        return told

    def load(self) -> EngineLoad:
        """How busy it is between two steps."""
        schedule = self._schedule
        return EngineLoad(
            slots=schedule.slots,
            running=len(schedule.running),
            waiting=schedule.waiting,
            kv_usage=schedule.used_tokens / schedule.capacity_tokens,
            cached_tokens=schedule.kept_tokens,
        )

    def _take(self, job: Job, token_id: int) -> list[Item]:
        items: list[Item] = []
        if not job.has_started:
            job.has_started = True
            items.append(Started(prompt_tokens=job.turn.prompt_tokens, cached_tokens=job.turn.cached or 0))
        if token_id in self._eos_ids:
            piece: Piece | None = job.text.end(Reason.STOP)
        else:
            job.turn.ids.append(token_id)
            piece = job.text.push((token_id,))
        if piece is not None:
            items.append(piece)
        if job.text.finish is not None:
            self.cancel(job.turn.id)
        return items


def _advance(stretches: list[Stretch]) -> None:
    for stretch in stretches:
        stretch.turn.computed += stretch.tokens


def _answer(job: Job) -> list[int]:
    """The tokens of the answer so far, emitted ones included."""
    return job.turn.ids[job.turn.prompt_tokens :]
