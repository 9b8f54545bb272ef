"""The course of one source: claimed, generated, ended, projected; or found ended, a repeat, returned, handed over.

Every way through it ends in FINISHED (the source may be committed) or LEFT (it is somebody else's, or will come back).
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from enum import Enum
from typing import Final

from inference_consumers.claims import wording
from inference_consumers.claims.deaths import Toll
from inference_consumers.claims.decision import Decision, Standing, decide
from inference_consumers.claims.procedure import ClaimProcedure, Denied, LogView, Owned
from inference_consumers.claims.road import read_into, walk
from inference_consumers.generating.delta_stream import is_too_long, spelled_bytes
from inference_consumers.generating.generation import Interrupt
from inference_consumers.generating.releaser import Releaser
from inference_consumers.generating.seat import Seat
from inference_consumers.generating.shown_answer import ShownAnswer
from inference_consumers.generating.tools import Tools
from inference_consumers.publishing import projecting
from inference_consumers.publishing.ending import Ending, error_of, expired, failed, with_fallback, written
from inference_consumers.scheduling.entry import Entry
from inference_consumers.scheduling.phases import Happening, Phase, advance
from infra.runtime.kafka import RecordTooLarge, TopicUnknown
from infra.runtime.logs import bound, trace_id
from schemas import instants, topics
from schemas.errors import CallerError, DependencyError, EngineDead, EngineFailed, ErrorCode
from schemas.records import Record, TurnDispatched, TurnReturned, TurnStarted
from schemas.turns import Reason

log = logging.getLogger(__name__)

_BACKOFF_S: Final = 0.1
_MAX_BACKOFF_S: Final = 5.0
# The first death is most likely a neighbour's fault, and a turn that waits to be alone is silent meanwhile: it comes
# back with all others. At the second it is suspected.
_SUSPECT_DEATHS: Final = 2


class _AttemptLost(DependencyError):
    """Send nothing more under this attempt; decide again."""


class _Setback(Enum):
    """Why an owned turn did not end here."""

    LOST = "an append has failed"
    HANDED_OVER = "the worker stops"
    FAILED = "the engine failed"


class Course:
    """One source on its way.

    Args:
        entry: its index.
        dispatched: its payload.
        generation: under which its partition was assigned.
        may_skip_reading: no engine of this process, and none before its assignment, has met the source.
        on_slot_free: called once, when it needs its place in the engine no more.
    """

    def __init__(
        self,
        tools: Tools,
        entry: Entry,
        dispatched: TurnDispatched,
        *,
        generation: int,
        may_skip_reading: bool,
        on_slot_free: Callable[[], None],
    ) -> None:
        self._tools = tools
        self.entry = entry
        self._dispatched = dispatched
        self._standing = Standing(dispatch=dispatched.dispatch, source=entry.source, generation=generation)
        # A later dispatch has met engines under earlier ones: its log is never empty.
        self._may_skip_reading = may_skip_reading and dispatched.dispatch == 1
        self._seat = Seat(tools, entry, dispatched, generation=generation, on_slot_free=on_slot_free)
        self._view: LogView | None = None
        self._why: Interrupt | None = None
        self._interrupted = asyncio.Event()
        self._own: int | None = None  # of our newest claim, be it in the log or not, neither ended nor released
        self._return: TurnReturned | None = None
        self.phase = Phase.CLAIMING

    def interrupt(self, why: Interrupt) -> None:
        """Stop, expire or hand over, within one step of the engine. The first stop or expiry stays; both outrank it."""
        if self._why is None or self._why is Interrupt.HANDED_OVER:
            self._why = why
        self._interrupted.set()
        self._seat.interrupt(why)

    async def run(self) -> Phase:
        """FINISHED or LEFT. A cancelled course has left: that it did so in good order is the last thing it sends.

        Raises:
            EngineDead: the process must end without committing.
        """
        with bound(turn=self.entry.turn, trace_id=trace_id(self._dispatched.traceparent)):
            return await self._run()

    async def _run(self) -> Phase:
        is_orderly = False
        try:
            phase = await self._try_on()
            is_orderly = True
        except asyncio.CancelledError:
            is_orderly = True
            raise
        finally:
            await self._seat.leave()
            # What else raises ends the process: by the log that is a death, and this turn may be to blame.
            if is_orderly:
                await self._release()
        return phase

    async def _try_on(self) -> Phase:
        waits = 0
        while True:
            try:
                return await self._attempt()
            except EngineDead:
                raise
            except RecordTooLarge:
                # No attempt makes it smaller: held back, it would hold its partition's commits for ever.
                log.exception("a turn is given up", extra={"turn": self.entry.turn})
                return self._happens(Happening.UNWRITABLE)
            except DependencyError as error:
                if isinstance(error, TopicUnknown) and self._is_long_over():
                    log.info("the log of an old turn is gone", extra={"turn": self.entry.turn})
                    return self._happens(Happening.REPEAT_FOUND)
                self._may_skip_reading = False
                self._happens(Happening.ATTEMPT_LOST)
                if self._why is Interrupt.HANDED_OVER:
                    return self._happens(Happening.HANDED_OVER)
                log.warning("an attempt is lost: %s", error, extra={"turn": self.entry.turn})
            await self._pause(waits, wakes=not self._interrupted.is_set())
            waits += 1

    def _is_long_over(self) -> bool:
        """Whether a log that isn't there was deleted: own topics are, when their turns have ended and are stored.

        Before its deadline a turn may be open, and brokers that come back know a topic late. After it the gate sees to
        a turn that hasn't ended, under another number.
        """
        is_own = topics.is_own_topic(self._dispatched.log)
        return self.phase is Phase.CLAIMING and is_own and self._tools.now_ms() >= self.entry.deadline_ms

    async def _attempt(self) -> Phase:
        if self.phase is Phase.PROJECTING:
            return await self._project()
        if self._return is not None:
            return await self._give_back(self._return)
        place: asyncio.Task[int] | None = None
        if self._view is None:
            place = asyncio.create_task(self._place())
        view = self._view or LogView.begin(self.entry.turn, 0)
        procedure = ClaimProcedure(view, self._standing, self._claim)
        try:
            settled = await walk(
                procedure,
                self._tools.log,
                self._dispatched.log,
                place=place,
                may_skip_reading=self._may_skip_reading,
                on_claim=lambda _claim: self._prefill(view),
                waits=lambda: self._waits(view),
                trace=self._dispatched.traceparent,
            )
        finally:
            if place is not None:
                place.cancel()
        self._view = view
        if isinstance(settled, Denied):
            await self._seat.leave()
            return await self._as_denied(settled.decision, view)
        return await self._as_owner(settled, view)

    async def _as_denied(self, decision: Decision, view: LogView) -> Phase:
        if decision is Decision.ENDED:
            self._own = None
            self._happens(Happening.END_FOUND)
            return await self._project()
        if decision is Decision.REPEAT:
            return self._happens(Happening.REPEAT_FOUND)
        if not await self._tools.asks_group(self.entry):
            return self._happens(Happening.DROPPED)
        # Still the owner: the group was lost and its generations began again. Only a new dispatch settles that.
        self._happens(Happening.GIVEN_BACK)
        return await self._give_back(self._returned(is_shown=view.fold.cursor.seq > 0, has_failed=False))

    async def _as_owner(self, owned: Owned, view: LogView) -> Phase:
        if self._must_be_alone(view):
            raise _AttemptLost("the turn is to be alone in the engine")
        self._happens(Happening.OWNED)
        attempt = owned.claim.attempt or 0
        address = self._dispatched.log
        answer = ShownAnswer(
            self._dispatched, view.fold, attempt, self._tools, on_lost=lambda: self._seat.interrupt(Interrupt.LOST)
        )
        try:
            outcome = self._ending_without_engine(view) or await self._generate(answer)
            # A lost attempt begins another one behind it, in the same place of the engine.
            await self._seat.leave(keeps_slot=outcome is _Setback.LOST)
            if outcome is _Setback.FAILED:
                outcome = await self._cool_off()
            if outcome is _Setback.LOST:
                raise _AttemptLost("a delta could not be appended")
            if isinstance(outcome, _Setback):
                return await self._leave(answer, outcome)
            if outcome.sentence is not None and not view.fold.text:
                answer.stream.push(outcome.sentence, ())
            answer.stream.flush()
            self._happens(Happening.ANSWER_DONE)
            at = instants.from_ms(self._tools.now_ms())
            answer.log.put(
                written(
                    self._dispatched,
                    view.fold,
                    attempt=attempt,
                    seq=answer.stream.seq,
                    ending=outcome,
                    tally=self._seat.tally,
                    at=at,
                )
            )
            offset = await answer.log.settled()
        finally:
            await answer.close()
        await read_into(view, self._tools.log, address, offset + 1, lambda at, record: _ends(view, at, record))
        if view.fold.ended is None:
            raise _AttemptLost("our end was not taken")
        self._own = None
        self._happens(Happening.END_TAKEN)
        return await self._project()

    async def _leave(self, answer: ShownAnswer, why: _Setback) -> Phase:
        """All that was shown is acknowledged, and the log says that we live: what comes next is another worker's."""
        answer.stream.flush()
        answer.log.put(self._released())
        await answer.log.settled()
        self._own = None
        if why is _Setback.HANDED_OVER:
            return self._happens(Happening.HANDED_OVER)
        self._happens(Happening.GIVEN_BACK)
        return await self._give_back(self._returned(is_shown=answer.stream.seq > 0, has_failed=True))

    async def _cool_off(self) -> Ending | _Setback:
        """The pause between two engines, longer after each failure; a stop or the deadline ends the turn here."""
        await self._pause(self._dispatched.failures, wakes=True)
        if self._why is Interrupt.CANCELLED or self._why is Interrupt.EXPIRED:
            return _cut_off(self._why)
        return _Setback.FAILED

    async def _give_back(self, returned: TurnReturned) -> Phase:
        """The turn is the gate's again; said until it is acknowledged."""
        self._return = returned
        await self._tools.outlet.publish((topics.TURNS, returned), trace=self._dispatched.traceparent)
        return self._happens(Happening.RETURN_ACKED)

    async def _project(self) -> Phase:
        """Say to everybody else what the log says; repeated until all of it is acknowledged."""
        if self._view is None:
            raise _AttemptLost("nothing was read yet")
        facts = projecting.facts(self._view.fold, self._dispatched.log)
        await self._tools.outlet.publish(*facts, trace=self._dispatched.traceparent)
        self._tools.on_end(self._view.fold)
        return self._happens(Happening.PROJECTED)

    # --- generating ---------------------------------------------------------------------------------------------------

    async def _place(self) -> int:
        return await self._tools.log.place_of(self._dispatched)

    def _prefill(self, view: LogView) -> None:
        """The claim is on its way: the engine may read the prompt meanwhile, behind what is known of the log."""
        is_wanted = not self._seat.is_taken and not self._why and not self._must_be_alone(view)
        if is_wanted and self._ending_without_engine(view) is None:
            self._seat.begin(view.fold.token_ids, view.fold.text)

    def _must_be_alone(self, view: LogView) -> bool:
        is_suspect = self._toll(view).deaths >= _SUSPECT_DEATHS and not self._seat.is_alone
        may_generate = self._tools.engine is not None and self._why is None
        is_ours = decide(view.fold, self._standing) is Decision.CLAIM
        return is_suspect and may_generate and is_ours and self._ending_without_engine(view) is None

    def _toll(self, view: LogView) -> Toll:
        return view.deaths.toll(self._tools.worker)

    async def _waits(self, view: LogView) -> bool:
        """Wait until this turn is alone in the engine, if it must be; an interrupt ends the wish."""
        if not self._must_be_alone(view):
            return False
        log.info("waiting to be alone, after %d deaths", self._toll(view).deaths, extra={"turn": self.entry.turn})
        await self._seat.be_alone(self._interrupted)
        if self._why is Interrupt.HANDED_OVER:
            raise _AttemptLost("handed over before it was claimed")
        return True

    async def _generate(self, answer: ShownAnswer) -> Ending | _Setback:
        """How the answer ended, or why it did not."""
        if self._why is Interrupt.HANDED_OVER:
            return _Setback.HANDED_OVER
        generation = await self._seat.behind(answer)
        if generation is None:
            return failed(ErrorCode.INVALID_REQUEST, "the options are out of their range")
        releaser = answer.open(generation)
        try:
            if self._why is not None:
                generation.interrupt(self._why)
            if answer.log.is_lost:
                generation.interrupt(Interrupt.LOST)
            ended = await generation.ended()
        except EngineDead:
            raise
        except EngineFailed as error:
            log.warning("the engine failed: %s", error, extra={"turn": self.entry.turn})
            self._seat.count(discarded=releaser.held_tokens)
            return _Setback.FAILED
        except CallerError as error:
            return failed(error.code, str(error))
        return self._as_ending(ended, releaser)

    def _as_ending(self, ended: Reason | Interrupt, releaser: Releaser) -> Ending | _Setback:
        if ended is Interrupt.HANDED_OVER:
            return _Setback.HANDED_OVER
        if ended is Interrupt.LOST:
            return _Setback.LOST
        if ended is Reason.WITHHELD:
            self._seat.count(withheld=releaser.held_tokens)
            stopped_by = releaser.stopped_by
            sentence = stopped_by.sentence if stopped_by is not None else None
            return Ending(reason=Reason.WITHHELD, refusal=sentence, verdicts=releaser.verdicts)
        if isinstance(ended, Interrupt):
            self._seat.count(discarded=releaser.held_tokens)
            return replace(_cut_off(ended), verdicts=releaser.verdicts)
        self._seat.count(discarded=releaser.held_tokens)
        return Ending(reason=ended, verdicts=releaser.verdicts)

    # --- what ends a turn without its engine --------------------------------------------------------------------------

    def _ending_without_engine(self, view: LogView) -> Ending | None:
        ending = self._foreseen(view)
        return None if ending is None else with_fallback(ending, self._dispatched, view.fold)

    def _foreseen(self, view: LogView) -> Ending | None:
        dispatched = self._dispatched
        if self._why is Interrupt.CANCELLED or self._tools.is_stopped(self.entry):
            return Ending(reason=Reason.CANCELLED)
        if self._tools.engine is None and dispatched.reason is not None:
            return Ending(reason=dispatched.reason, error=dispatched.error or error_of(dispatched.reason))
        if self._why is Interrupt.EXPIRED or self._tools.now_ms() >= self.entry.deadline_ms:
            return expired()
        if self._tools.engine is None:
            return failed(ErrorCode.ENGINE_FAILED, "no worker could finish the answer")
        alone = self._toll(view).alone
        if alone >= dispatched.max_attempts:
            return failed(ErrorCode.ENGINE_FAILED, f"{alone} workers died while they answered this turn alone")
        limit = dispatched.options.max_tokens
        # With stop texts the engine must say whether the last of them ended the answer.
        if limit is not None and len(view.fold.token_ids) >= limit and not dispatched.options.stop:
            return Ending(reason=Reason.LENGTH)
        if is_too_long(spelled_bytes(view.fold.text)):
            return Ending(reason=Reason.LENGTH)
        return None

    # --- records ------------------------------------------------------------------------------------------------------

    def _claim(self, attempt: int) -> TurnStarted:
        # From here on: who is dropped between the append and its reading back has left a claim as well.
        self._own = attempt
        return wording.started(
            self._dispatched,
            self._standing,
            attempt,
            claim=self._tools.fresh_id(),
            at=instants.from_ms(self._tools.now_ms()),
            worker=self._tools.worker,
            is_alone=self._seat.is_alone,
        )

    def _released(self) -> Record:
        at = instants.from_ms(self._tools.now_ms())
        return wording.released(self._dispatched, self._own or 0, at, worker=self._tools.worker)

    def _returned(self, *, is_shown: bool, has_failed: bool) -> TurnReturned:
        return projecting.returned(
            self._dispatched,
            self.entry.source,
            instants.from_ms(self._tools.now_ms()),
            worker=self._tools.worker,
            has_failed=has_failed,
            is_shown=is_shown,
            discarded_tokens=self._seat.tally.discarded_tokens,
        )

    # --- small acts ---------------------------------------------------------------------------------------------------

    def _happens(self, happening: Happening) -> Phase:
        self.phase = advance(self.phase, happening)
        return self.phase

    async def _release(self) -> None:
        """Say that whoever claims next does so behind a worker that lives; lost, it counts as a death too many."""
        if self._own is None or not self._tools.may_release():
            return
        with suppress(DependencyError):
            await self._tools.log.send(self._dispatched.log, self._released(), trace=self._dispatched.traceparent)

    async def _pause(self, count: int, *, wakes: bool) -> None:
        """Back off, longer each time and never in step with others; an interrupt wakes it."""
        # The exponent is bounded too: 2**1100 is no float.
        pause_s = min(_BACKOFF_S * 2 ** min(count, 10), _MAX_BACKOFF_S) * (0.5 + self._tools.jitter() / 2)
        if not wakes:
            await asyncio.sleep(pause_s)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._interrupted.wait()


def _ends(view: LogView, offset: int, record: Record) -> bool:
    view.take(offset, record)
    return view.fold.ended is not None


def _cut_off(why: Interrupt) -> Ending:
    return expired() if why is Interrupt.EXPIRED else Ending(reason=Reason.CANCELLED)
