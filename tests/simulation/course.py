"""The course of one source in a worker, step by step, in the phases of `generating/course.py`.

The product's own table advances them; what an engine, a screen and a clock do there is left out: a piece of an answer
names who made it, and after what.
"""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from inference_consumers.claims import wording
from inference_consumers.claims.decision import Decision, Standing
from inference_consumers.claims.procedure import ClaimProcedure, Denied, LogView, Owned
from inference_consumers.claims.road import read_into, walk
from inference_consumers.intake.port import Arrival
from inference_consumers.publishing import projecting
from inference_consumers.publishing.ending import Ending, Tally, error_of, expired, failed, written
from inference_consumers.scheduling.phases import Happening, Phase, advance
from schemas import instants, topics
from schemas.errors import DependencyError, ErrorCode, KafkaUnavailable
from schemas.ids import ConversationId, TurnId
from schemas.records import Record, TurnDelta, TurnStarted
from schemas.turns import LogAddress, Reason
from tests.simulation.stepping import Ack, Pause, Run

if TYPE_CHECKING:
    from tests.simulation.worker import Worker


class Course:
    """One source on its way: see `generating.course.Course`."""

    def __init__(self, worker: "Worker", arrival: Arrival) -> None:
        self._worker = worker
        self._world = worker.world
        self._arrival = arrival
        self._dispatched = arrival.dispatched
        self._turn = TurnId(str(arrival.dispatched.turn))
        self._may_skip_reading = arrival.is_new
        self._view: LogView | None = None
        self.phase = Phase.CLAIMING
        self.run: Run[None] = Run(self._carry(), lambda _none: self._left())

    def gives_back(self) -> None:
        """It is the gate's again, unstarted: see `Worker.crowd`."""
        self.run.close()
        self.run = Run(self._give_back(), lambda _none: self._left())
        self.run.go()

    def _left(self) -> None:
        courses, offset = self._worker.courses, self._arrival.source.offset
        if courses.get(offset) is self:
            del courses[offset]

    async def _carry(self) -> None:
        await Pause("begins")
        while await self._is_lost():
            await Pause("tries again")
        if self.phase is Phase.FINISHED:
            self._finish()

    async def _is_lost(self) -> bool:
        """One attempt; whether another is due."""
        try:
            self.phase = await self._attempt()
        except DependencyError:
            self._may_skip_reading = False
            self._happens(Happening.ATTEMPT_LOST)
            if not self._worker.is_draining:
                return True
            self._happens(Happening.HANDED_OVER)
        return False

    def _finish(self) -> None:
        self._worker.intake.finish(self._arrival.source, self._arrival.generation)

    async def _give_back(self) -> None:
        while True:
            try:
                await self._return()
                break
            except DependencyError:
                await Pause("tries again")
        self._finish()

    async def _return(self) -> None:
        record = projecting.returned(self._dispatched, self._arrival.source, self._at(), worker=self._worker.name)
        await self._worker.outlet.publish((topics.TURNS, record))

    async def _returned(self) -> Phase:
        await self._return()
        return self._happens(Happening.RETURN_ACKED)

    async def _attempt(self) -> Phase:
        if self.phase is Phase.PROJECTING:
            return await self._project()
        if self.phase is Phase.RETURNING:
            return await self._returned()
        view = self._view or LogView.begin(self._turn, self._dispatched.place or 0)
        procedure = ClaimProcedure(view, self._standing(), self._claim)
        settled = await walk(
            procedure,
            cast("Any", self),
            self._dispatched.log,
            may_skip_reading=self._may_skip_reading,
            on_claim=lambda _claim: None,
        )
        self._view = view
        return await (self._as_owner(settled, view) if isinstance(settled, Owned) else self._as_denied(settled))

    def _standing(self) -> Standing:
        holding = self._worker.intake._holdings.partitions.get(0)
        generation = self._arrival.generation if holding is None else holding.generation
        return Standing(dispatch=self._dispatched.dispatch, source=self._arrival.source, generation=generation)

    async def _as_denied(self, denied: Denied) -> Phase:
        if denied.decision is Decision.ENDED:
            self._happens(Happening.END_FOUND)
            return await self._project()
        if denied.decision is Decision.REPEAT:
            return self._happens(Happening.REPEAT_FOUND)
        await Pause("asks its group")
        if not await self._worker.intake.is_owner(0):
            return self._happens(Happening.DROPPED)
        self._happens(Happening.GIVEN_BACK)
        return await self._returned()

    async def _as_owner(self, owned: Owned, view: LogView) -> Phase:
        self._happens(Happening.OWNED)
        attempt = owned.claim.attempt or 0
        known, seq, sent = view.fold.text, view.fold.cursor.seq, list[Ack]()
        while True:
            if any(ack.exception() is not None for ack in sent):
                raise KafkaUnavailable("an append of this attempt failed")
            if self._worker.is_draining:
                for ack in sent:
                    await ack
                return self._happens(Happening.HANDED_OVER)
            ending = self._ending(seq)
            if ending is not None:
                break
            delta = self._delta(owned.claim, attempt, seq)
            sent.append(self._send(delta, known))
            known, seq = known + delta.text, seq + 1
            await Pause("goes on")
        self._happens(Happening.ANSWER_DONE)
        tally = Tally(prompt_tokens=self._dispatched.prompt_tokens)
        end = written(self._dispatched, view.fold, attempt=attempt, seq=seq, ending=ending, tally=tally, at=self._at())
        sent.append(self._send(end, known))
        offset = -1
        for ack in sent:
            offset = await ack
        await read_into(view, cast("Any", self), self._dispatched.log, offset + 1, lambda *row: _ends(view, *row))
        if view.fold.ended is None:
            return self._end_not_taken()
        self._happens(Happening.END_TAKEN)
        return await self._project()

    def _end_not_taken(self) -> Phase:
        """Nothing more under this attempt: decide again."""
        raise KafkaUnavailable("our end was not taken")

    def _ending(self, seq: int) -> Ending | None:
        dispatched = self._dispatched
        if self._turn in self._worker.stopped:
            return Ending(reason=Reason.CANCELLED)
        if self._worker.pool == topics.CLOSING_POOL and dispatched.reason is not None:
            return Ending(reason=dispatched.reason, error=dispatched.error or error_of(dispatched.reason))
        if self._world.now_ms >= instants.to_ms(dispatched.deadline_at):
            return expired()
        if self._worker.pool == topics.CLOSING_POOL:
            return failed(ErrorCode.ENGINE_FAILED, "nobody generates here")
        return Ending(reason=Reason.STOP) if seq >= self._world.scope.pieces else None

    async def _project(self) -> Phase:
        view = self._view
        if view is None:
            raise KafkaUnavailable("nothing was read yet")
        await self._worker.outlet.publish(*projecting.facts(view.fold, self._dispatched.log))
        return self._happens(Happening.PROJECTED)

    # --- see `TurnLog` ------------------------------------------------------------------------------------------------

    async def send(self, _log: LogAddress, record: Record, *, trace: str | None = None) -> Ack:
        """Only claims come this way."""
        return self._send(record, None)

    async def read(
        self, log: LogAddress, turn: TurnId, _conversation: ConversationId, start: int, stop: int | None
    ) -> AsyncIterator[tuple[int, Record]]:
        """The turn's records."""
        await Pause("reads")
        records = self._world.broker.log(log.topic)
        for offset in range(start, len(records) if stop is None else stop):
            record = records[offset]
            if record.turn == turn:
                yield offset, record

    # --- records ------------------------------------------------------------------------------------------------------

    def _send(self, record: Record, knows: str | None) -> Ack:
        return self._world.broker.send(self._worker.name, self._dispatched.log.topic, record, knows)

    def _claim(self, attempt: int) -> TurnStarted:
        worker, dispatched, standing = self._worker, self._dispatched, self._standing()
        worker.claims += 1
        claim = wording.started(
            dispatched,
            standing,
            attempt,
            claim=f"{worker.name}.{worker.claims}",
            at=self._at(),
            worker=worker.name,
            is_alone=False,
        )
        self._world.watch.claims(claim, self._turn in worker.stopped)
        return claim

    def _delta(self, claim: TurnStarted, attempt: int, seq: int) -> TurnDelta:
        return TurnDelta(
            id=f"{self._turn}.{attempt}.{seq}",
            at=self._at(),
            tenant=claim.tenant,
            conversation=claim.conversation,
            turn=claim.turn,
            attempt=attempt,
            seq=seq,
            text=f"<{claim.id}>",
            token_ids=(seq,),
            tokens=1,
        )

    def _at(self) -> str:
        return self._world.at

    def _happens(self, happening: Happening) -> Phase:
        self.phase = advance(self.phase, happening)
        return self.phase


def _ends(view: LogView, offset: int, record: Record) -> bool:
    view.take(offset, record)
    return view.fold.ended is not None
