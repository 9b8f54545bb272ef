"""The `torch` engine: a transformers model stepped in a thread of its own, so that the event loop lives.

The thread owns the model and all generations; the loop hands it commands and gets every step's pieces in one call.
torch releases the interpreter's lock while it computes, so the loop runs beside it.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from inference_consumers.engines.answer import AnswerText, prior_end
from inference_consumers.engines.port import Answer, EngineInfo, EngineLoad, GenerationRequest, Piece, Started
from inference_consumers.engines.settings import TorchSettings
from inference_consumers.engines.turn_schedule import BLOCK_TOKENS, Turn, TurnSchedule
from infra.runtime.models import ModelFiles
from schemas.errors import ContextTooLarge, EngineDead, EngineFailed
from schemas.turns import Message

if TYPE_CHECKING:
    from inference_consumers.engines.torch_stepper import Item, Job, Stepper


class TorchEngine:
    """See `port.Engine`.

    Args:
        directory: the model: weights, tokenizer, chat template.

    Raises:
        SettingsError: no such model is there.
    """

    def __init__(self, directory: Path, settings: TorchSettings) -> None:
        self._directory = directory
        self._settings = settings
        self._files = ModelFiles(directory)
        self._info = EngineInfo(
            engine="torch",
            model=self._files.name,
            version=self._files.version,
            max_model_len=self._files.max_model_len,
            slots=settings.slots,
            can_continue=True,
        )
        self._inbox: SimpleQueue[Job | str | None] = SimpleQueue()  # a job to add, an id to cancel, None to end
        self._jobs: dict[str, Job] = {}  # of the loop; the stepper has its own
        self._load = EngineLoad(slots=settings.slots, running=0, waiting=0)
        self._over: EngineFailed | None = None
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: asyncio.Future[int] | None = None

    async def start(self) -> EngineInfo:
        """Load the model in the engine's thread; the loop lives meanwhile."""
        self._loop = asyncio.get_running_loop()
        self._ready = self._loop.create_future()
        self._thread = Thread(target=self._run, name="torch-engine", daemon=True)
        self._thread.start()
        capacity_tokens = await self._ready
        # One token less than memory holds: the token that is drawn last needs a place as well.
        self._info = replace(self._info, max_model_len=min(self._files.max_model_len, capacity_tokens - 1))
        return self._info

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the prompt."""
        return len(self._files.prompt_ids(messages))

    async def generate(self, request: GenerationRequest) -> Answer:
        """See `port.Engine.generate`."""
        if self._over is not None:
            raise self._over
        job = self._job(request)
        ended = prior_end(request, self._files.token_bytes)
        if ended is not None:
            yield Started(prompt_tokens=job.turn.prompt_tokens, cached_tokens=0)
            yield job.text.end(ended)
            return
        self._jobs[request.id] = job
        self._inbox.put(job)
        try:
            while True:
                item = await job.mailbox.get()
                yield item
                if isinstance(item, Piece) and item.finish is not None:
                    return
        finally:
            self._jobs.pop(request.id, None)
            self._inbox.put(request.id)

    def load(self) -> EngineLoad:
        """As of the last step, and what has come since."""
        return replace(self._load, waiting=max(self._load.waiting, len(self._jobs) - self._load.running))

    async def stop(self) -> None:
        """End the thread after its present step; readers see EngineFailed."""
        if self._thread is None:
            return
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)
        self._thread = None
        self._end_all(EngineFailed("the engine was stopped"))

    def _job(self, request: GenerationRequest) -> "Job":
        from inference_consumers.engines.torch_sampler import Sampling
        from inference_consumers.engines.torch_stepper import Job

        prompt = self._files.prompt_ids(request.messages)
        ids = [*prompt, *request.emitted_token_ids]
        room = self._info.max_model_len - len(ids)
        if room < 1:
            raise ContextTooLarge(f"the prompt has {len(ids)} tokens, the model reads {self._info.max_model_len}")
        room = room if request.max_tokens is None else min(room, request.max_tokens)
        sampling = Sampling(
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.id if request.seed is None else str(request.seed),
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
        )
        turn = Turn(id=request.id, ids=ids, prompt_tokens=len(prompt), priority=request.priority)
        return Job(turn=turn, sampling=sampling, text=AnswerText(self._files.token_bytes, request.stop, room))

    def _run(self) -> None:
        """The thread: load, then step until told to end."""
        try:
            stepper, capacity_tokens = self._made()
            self._call(self._set_ready, capacity_tokens)
            self._step_on(stepper)
        except Exception as error:  # noqa: BLE001 - the root of the thread: whatever it was, nothing steps any more
            dead = error if isinstance(error, EngineDead) else EngineDead(f"the torch engine died: {error!r}")
            self._call(self._die, dead)

    def _made(self) -> "tuple[Stepper, int]":
        # Threads that wait for the next product must not spin: the cores belong to the other services as well.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            from inference_consumers.engines.torch_model import TorchModel
            from inference_consumers.engines.torch_stepper import Stepper
        except ImportError as error:
            raise EngineDead("torch isn't installed: pip install 'parley[torch]', or use --engine simulated") from error
        model = TorchModel(self._directory, self._settings)
        capacity_tokens = (self._settings.kv_cache_mb << 20) // model.shape.token_bytes // BLOCK_TOKENS * BLOCK_TOKENS
        if capacity_tokens < 2 * BLOCK_TOKENS:
            raise EngineDead(f"[torch] kv_cache_mb = {self._settings.kv_cache_mb} holds no conversation: raise it")
        schedule = TurnSchedule(self._settings.slots, capacity_tokens, self._settings.prefill_tokens)
        return Stepper(model, schedule, self._files.eos_ids), capacity_tokens

    def _step_on(self, stepper: "Stepper") -> None:
        while True:
            # Idle, it sleeps until the next command; busy, it takes what has come and goes on.
            while stepper.is_idle or not self._inbox.empty():
                command = self._inbox.get()
                if command is None:
                    return
                if isinstance(command, str):
                    stepper.cancel(command)
                    self._load = stepper.load()
                else:
                    stepper.add(command)
            told = stepper.step()
            self._load = stepper.load()
            self._call(self._tell, told)

    def _call(self, function: object, argument: object) -> None:
        """Run something in the loop; a loop that is closed needs no more news."""
        try:
            self._loop.call_soon_threadsafe(function, argument)  # type: ignore[union-attr, arg-type]
        except RuntimeError:
            return

    def _tell(self, told: "list[tuple[Job, Item]]") -> None:
        for job, item in told:
            job.mailbox.put(item)

    def _set_ready(self, capacity_tokens: int) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(capacity_tokens)

    def _die(self, error: EngineDead) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(error)
        self._end_all(error)

    def _end_all(self, error: EngineFailed) -> None:
        self._over = self._over or error
        for job in self._jobs.values():
            job.mailbox.put(error)
