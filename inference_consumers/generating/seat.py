"""One turn's place in the engine: its run there, what that has cost, and whether it has the engine to itself."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from inference_consumers.engines.port import Started
from inference_consumers.generating.asking import asked
from inference_consumers.generating.generation import Generation, Interrupt
from inference_consumers.generating.shown_answer import ShownAnswer
from inference_consumers.generating.tools import Tools
from inference_consumers.publishing.ending import Tally
from inference_consumers.scheduling.entry import Entry
from schemas.errors import CallerError
from schemas.records import TurnDispatched


class Seat:
    """See the module. It outlives attempts that are lost: the next one goes on in the same place.

    Args:
        generation: under which the source's partition was assigned; part of the runs' names.
        on_slot_free: called once, when the turn needs its place in the engine no more.
    """

    def __init__(
        self,
        tools: Tools,
        entry: Entry,
        dispatched: TurnDispatched,
        *,
        generation: int,
        on_slot_free: Callable[[], None],
    ) -> None:
        self._tools = tools
        self._entry = entry
        self._dispatched = dispatched
        self._assigned = generation
        self._on_slot_free: Callable[[], None] | None = on_slot_free
        self._run: Generation | None = None
        self.tally = Tally(discarded_tokens=dispatched.discarded_tokens)
        self.is_alone = False

    @property
    def is_taken(self) -> bool:
        """True while the engine works for the turn."""
        return self._run is not None

    def begin(self, token_ids: list[int], text: str) -> None:
        """Let the engine go on behind this; options that no engine could follow begin nothing."""
        engine = self._tools.engine
        if engine is None:
            return
        turn = self._entry.turn
        request_id = f"{turn}.{self._assigned}.{self._tools.fresh_id()}"
        try:
            request = asked(self._dispatched, turn, request_id, token_ids, text, self._tools)
        except CallerError:
            return
        self._run = Generation(
            engine,
            request,
            behind=token_ids,
            repeats="" if self._tools.can_continue else text,
            on_started=self._on_started,
            on_tokens=lambda count: self._tools.on_tokens(self._entry, count),
        )

    async def behind(self, answer: ShownAnswer) -> Generation | None:
        """The run that goes on behind what is released: the prefill if nothing else was in the log, else a new one.

        Returns:
            None: there is none, see `begin`.
        """
        if self._run is not None and not self._run.is_behind(answer.token_ids):
            await self.leave(keeps_slot=True)
        if self._run is None:
            self.begin(answer.token_ids, answer.text)
        return self._run

    async def be_alone(self, interrupted: asyncio.Event) -> None:
        """Return when nothing else is in the engine, as `is_alone` then says, or when the turn is interrupted."""
        alone = asyncio.create_task(self._tools.be_alone(self._entry))
        stopped = asyncio.create_task(interrupted.wait())
        try:
            await asyncio.wait({alone, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (alone, stopped):
                each.cancel()
            await asyncio.wait({alone, stopped})
        self.is_alone = not alone.cancelled()

    def interrupt(self, why: Interrupt) -> None:
        """End what runs within one step."""
        if self._run is not None:
            self._run.interrupt(why)

    def count(self, *, withheld: int = 0, discarded: int = 0) -> None:
        """Tokens that were made and are not shown."""
        self.tally = replace(
            self.tally,
            withheld_tokens=self.tally.withheld_tokens + withheld,
            discarded_tokens=self.tally.discarded_tokens + discarded,
        )

    async def leave(self, *, keeps_slot: bool = False) -> None:
        """The engine has let go of the turn, which may keep its slot for another run. Idempotent."""
        run, self._run = self._run, None
        if run is not None:
            await run.close()
            self.count(discarded=run.unheard_tokens)
        if keeps_slot:
            return
        self.is_alone = False
        if self._on_slot_free is not None:
            self._on_slot_free()
            self._on_slot_free = None

    def _on_started(self, started: Started) -> None:
        self.tally = replace(self.tally, prompt_tokens=started.prompt_tokens, cached_tokens=started.cached_tokens)
        self._tools.on_started(self._entry, started)
