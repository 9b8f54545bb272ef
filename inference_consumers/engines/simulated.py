"""The simulated engine: exact answers at a set pace, on no GPU. Its decisions are in `simulated_batch`."""

import asyncio
from collections.abc import Sequence
from typing import Final

from inference_consumers.engines.answer import AnswerText, prior_end
from inference_consumers.engines.mailbox import Mailbox
from inference_consumers.engines.port import Answer, EngineInfo, EngineLoad, GenerationRequest, Piece, Started
from inference_consumers.engines.settings import SimulatedSettings
from inference_consumers.engines.simulated_answer import answer_ids, last_asked
from inference_consumers.engines.simulated_batch import Emission, Fault, Run, SimulatedBatch, drawn_fault
from infra.runtime.word_model import WordModel, word_bytes
from schemas.errors import ContextTooLarge, EngineDead, EngineFailed
from schemas.turns import Message, Reason

_STEP_S: Final = 0.002  # two wake-ups are no closer: hundreds of turns then share one timer instead of having one each


class SimulatedEngine:
    """See `port.Engine`. One timer steps all generations."""

    def __init__(self, settings: SimulatedSettings) -> None:
        self._settings = settings
        self._model = WordModel(settings.max_model_len)
        self._batch = SimulatedBatch(settings)
        self._mailboxes: dict[str, Mailbox[Emission]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0  # not asked of the handle: uvloop gives one without `when` for a time that has come
        self._stepped_at = 0.0
        self._dead: EngineDead | None = None

    async def start(self) -> EngineInfo:
        """Ready at once."""
        return EngineInfo(
            engine="simulated",
            model=self._model.name,
            version=self._model.version,
            max_model_len=self._settings.max_model_len,
            slots=self._settings.slots,
            can_continue=True,
        )

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Words of the prompt."""
        return len(self._model.prompt_ids(messages))

    async def generate(self, request: GenerationRequest) -> Answer:
        """See `port.Engine.generate`."""
        if self._dead:
            raise self._dead
        prompt_tokens, run, text = self._plan(request)
        ended = prior_end(request, word_bytes)
        if ended is not None:
            yield Started(prompt_tokens=prompt_tokens, cached_tokens=0)
            yield text.end(ended)
            return
        mailbox = self._mailboxes[request.id] = Mailbox[Emission]()
        loop = asyncio.get_running_loop()
        try:
            self._batch.add(run, loop.time())
            self._set_timer(loop)
            emission = await mailbox.get()
            yield Started(prompt_tokens=prompt_tokens, cached_tokens=0)
            while True:
                piece = _shown(text, emission)
                if piece is not None:
                    yield piece
                if text.finish is not None:
                    return
                if emission.fault is Fault.FAIL:
                    raise EngineFailed("the simulated engine failed this generation, as its fail_rate asks")
                emission = await mailbox.get()
        finally:
            self._mailboxes.pop(request.id, None)
            self._batch.cancel(request.id, loop.time())
            self._set_timer(loop)

    def load(self) -> EngineLoad:
        """Slots taken and waited for."""
        running = self._batch.running
        slots = self._settings.slots
        return EngineLoad(slots=slots, running=running, waiting=self._batch.waiting, kv_usage=running / slots)

    async def stop(self) -> None:
        """End what runs: its readers see EngineFailed."""
        self._end_all(EngineFailed("the engine was stopped"))

    def _plan(self, request: GenerationRequest) -> tuple[int, Run, AnswerText]:
        begin = len(request.emitted_token_ids)
        prompt_tokens = self.prompt_tokens(request.messages)
        room = self._settings.max_model_len - prompt_tokens - begin
        if room < 1:
            raise ContextTooLarge(f"the prompt has {prompt_tokens} tokens, the model reads {self._model.max_model_len}")
        most = room if request.max_tokens is None else min(room, request.max_tokens)
        run = Run(
            id=request.id,
            ids=answer_ids(request.messages)[: begin + most],
            begin=begin,
            priority=request.priority,
            fault=self._fault(request),
        )
        return prompt_tokens, run, AnswerText(word_bytes, request.stop, most)

    def _fault(self, request: GenerationRequest) -> Fault:
        poison = self._settings.poison_text
        if poison and poison in last_asked(request.messages):
            return Fault.DIE
        return drawn_fault(self._settings, request.id)

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        due = self._batch.due_at()
        if due is None:
            return
        due = max(due, self._stepped_at + _STEP_S)
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer, self._timer_at = loop.call_at(due, self._step, loop), due

    def _step(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._stepped_at = loop.time()
        for emission in self._batch.step(self._stepped_at):
            if emission.fault is Fault.DIE:
                self._dead = EngineDead("the simulated engine died, as its settings ask")
                self._end_all(self._dead)
                return
            mailbox = self._mailboxes.get(emission.id)
            if mailbox is not None:
                mailbox.put(emission)
        self._set_timer(loop)

    def _end_all(self, error: EngineFailed) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for mailbox in self._mailboxes.values():
            mailbox.put(error)


def _shown(text: AnswerText, emission: Emission) -> Piece | None:
    """What of an emission may be shown; the model's own end is an end by STOP."""
    piece = text.push(emission.token_ids)
    if text.finish is not None or not emission.is_last or emission.fault is not Fault.NONE:
        return piece
    last = text.end(Reason.STOP)
    if piece is None:
        return last
    return Piece(text=piece.text + last.text, token_ids=piece.token_ids + last.token_ids, finish=last.finish)
