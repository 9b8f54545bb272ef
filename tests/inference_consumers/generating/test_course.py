"""One source from its claim to its end, with every fault by name."""

import asyncio
from dataclasses import replace

import pytest

from inference_consumers.engines.port import Answer, GenerationRequest
from inference_consumers.generating.generation import Interrupt
from inference_consumers.scheduling.phases import Phase
from infra.runtime.kafka import RecordTooLarge, TopicUnknown
from infra.runtime.kafka_log import Entry
from schemas import codec, ids, topics
from schemas.errors import ContextTooLarge, EngineDead, EngineFailed, ErrorCode
from schemas.records import PolicyPublished, Record, TurnEnded, TurnReturned, TurnStarted
from schemas.turns import Failure, LogAddress, Options, Reason, Source
from tests.inference_consumers.generating.courses import SOURCE, Stage, dispatch
from tests.inference_consumers.memory_log import MemoryLog
from tests.inference_consumers.scripted_engine import ScriptedEngine, said
from tests.support.logs import TURNS, delta, ended, started
from tests.support.samples import AT, TURN
from tests.support.waiting import until

assert TURN not in TURNS


def _reason(stage: Stage) -> Reason:
    end = stage.fold().ended
    assert end is not None
    return end.reason


async def _shows(stage: Stage, text: str) -> None:
    async def ask() -> bool:
        return stage.fold().text == text

    await until(ask, every_s=0.001)


async def test_a_turn_runs_through() -> None:
    """Claim, deltas, end and the three facts, in this order; the slot is free before the turn is projected."""
    stage = Stage(ScriptedEngine(said("a", "b", "c")))
    assert await stage.course(dispatch()).run() is Phase.FINISHED
    assert stage.fold().text == "abc"
    assert _reason(stage) is Reason.STOP
    assert [topic for topic, _ in stage.outlet.facts] == [topics.VERDICTS, topics.USAGE, topics.TURNS]
    assert stage.freed == 1
    assert stage.tokens == 3
    assert len(stage.ended) == 1


async def test_a_turn_s_trace_stands_on_all_that_is_written() -> None:
    """Claim, deltas, end and facts bear the dispatch's traceparent."""
    stage = Stage(ScriptedEngine(said("a", "b")))
    assert await stage.course(dispatch(traceparent="00-trace-parent-01")).run() is Phase.FINISHED
    assert len(stage.log.traces) == len(stage.log.records)
    assert set(stage.log.traces) | set(stage.outlet.traces) == {"00-trace-parent-01"}


async def test_the_prefill_runs_beside_the_claim() -> None:
    """The engine begins while the claim is on its way, and nothing is released before it is ours."""
    engine = ScriptedEngine(said("a", "b"))
    stage = Stage(engine)
    stage.log.is_held.clear()
    running = asyncio.create_task(stage.course(dispatch(), is_new=False).run())
    stage.log.is_held.set()
    await running
    assert len(engine.requests) == 1
    assert stage.log.records[0].type == "turn.started"


async def test_an_ended_turn_is_only_projected() -> None:
    """A successor that finds the end says the facts again and generates nothing."""
    engine = ScriptedEngine(said("x"))
    stage = Stage(engine)
    stage.log.records = [_claim(1), delta(TURN, 1, 0, "a"), ended(TURN, 1, 1)]
    assert await stage.course(dispatch(), is_new=False).run() is Phase.FINISHED
    assert [topic for topic, _ in stage.outlet.facts][-1] == topics.TURNS
    assert not engine.requests
    assert len(stage.log.records) == 3
    assert stage.freed == 1


def _claim(attempt: int, *, generation: int = 4, dispatched: int = 1, source: Source = SOURCE) -> TurnStarted:
    return replace(started(TURN, attempt), generation=generation, dispatch=dispatched, source=source)


async def test_a_successor_goes_on_behind_what_is_shown() -> None:
    """It generates from the prompt and the emitted tokens, with the rest of the budget, and its seq goes on."""
    engine = ScriptedEngine(said("c", "d"))
    stage = Stage(engine)
    stage.log.records = [_claim(1), delta(TURN, 1, 0, "a"), delta(TURN, 1, 1, "b")]
    await stage.course(dispatch(options=Options(max_tokens=10)), is_new=False).run()
    assert stage.fold().text == "abcd"
    [request] = engine.requests
    assert (request.emitted_token_ids, request.emitted_text, request.max_tokens) == ((0, 1), "ab", 8)
    assert stage.fold().cursor.attempt == 2
    usage = stage.outlet.facts[-2][1]
    assert getattr(usage, "generated_tokens", None) == 4


async def test_an_engine_that_begins_anew_repeats_nothing() -> None:
    """Where the engine can't go on behind shown text, it answers from the beginning and what was shown is left out."""
    engine = ScriptedEngine(said("a", "bc", "d"))
    stage = Stage(engine, can_continue=False)
    stage.log.records = [_claim(1), delta(TURN, 1, 0, "ab")]
    await stage.course(dispatch(), is_new=False).run()
    assert stage.fold().text == "abcd"
    assert engine.requests[0].emitted_text == ""


async def test_a_prefill_of_a_shorter_prefix_is_thrown_away() -> None:
    """What the skipped first read would have shown is found by the second: generation begins anew behind it."""
    engine = ScriptedEngine(said("x"), said("b"))
    stage = Stage(engine)
    stage.log.records = [_claim(1), delta(TURN, 1, 0, "a")]
    await stage.course(dispatch(), is_new=True).run()
    assert stage.fold().text == "ab"
    assert [request.emitted_text for request in engine.requests] == ["", "a"]
    assert engine.open_generations == 0


async def test_a_budget_that_is_used_up_ends_the_turn() -> None:
    """A predecessor that had shown all the tokens allowed leaves only the end to be written."""
    engine = ScriptedEngine(said("x"))
    stage = Stage(engine)
    stage.log.records = [_claim(1), delta(TURN, 1, 0, "a", tokens=3)]
    await stage.course(dispatch(options=Options(max_tokens=3)), is_new=False).run()
    assert _reason(stage) is Reason.LENGTH
    assert not engine.requests


async def test_an_endless_answer_ends_where_no_record_could_hold_it() -> None:
    """At 512 KiB, as JSON spells it, the answer ends by its length; so does one that a successor finds that long."""
    engine = ScriptedEngine(said(*["\n" * 16_000] * 40, finish=None))
    stage = Stage(engine)
    await stage.course(dispatch()).run()
    assert _reason(stage) is Reason.LENGTH
    assert stage.fold().text == "\n" * 16_000 * 17
    assert engine.open_generations == 0
    successor = Stage(ScriptedEngine(said("x")))
    successor.log.records = stage.log.records[:-1]
    await successor.course(dispatch(), is_new=False).run()
    assert _reason(successor) is Reason.LENGTH
    assert not successor.outlet.failures


@pytest.mark.parametrize("place", ["end", "facts"])
async def test_what_no_broker_takes_is_not_tried_for_ever(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is too large for good gives its source free, or it would hold its partition's commits for ever."""
    stage = Stage(ScriptedEngine(said("a")))
    publish, send = stage.outlet.publish, stage.log.send

    async def narrow_outlet(*facts: tuple[str, Record], trace: str | None = None) -> None:
        if place == "facts":
            raise RecordTooLarge("as asked")
        await publish(*facts, trace=trace)

    async def narrow_log(log: LogAddress, record: Record, *, trace: str | None = None) -> "asyncio.Future[int]":
        if place == "end" and isinstance(record, TurnEnded):
            raise RecordTooLarge("as asked")
        return await send(log, record, trace=trace)

    monkeypatch.setattr(stage.outlet, "publish", narrow_outlet)
    monkeypatch.setattr(stage.log, "send", narrow_log)
    assert await stage.course(dispatch()).run() is Phase.FINISHED


async def test_a_turn_whose_log_was_retired_gives_its_source_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that was away for hours finds dispatches of topics that are gone: they are finished, and none is made."""

    async def gone(*_: object, **__: object) -> int:
        raise TopicUnknown("as asked")

    stage = Stage(ScriptedEngine(said("a")))
    own = LogAddress(topics.own_topic(ids.conversation_of(TURN)).name, 0)
    monkeypatch.setattr(stage.log, "send", gone)
    monkeypatch.setattr(stage.log, "place_of", gone)
    late = replace(dispatch(deadline_at="2001-01-01T00:00:00.000Z"), log=own)
    assert await asyncio.wait_for(stage.course(late).run(), 5) is Phase.FINISHED
    young = asyncio.create_task(stage.course(replace(dispatch(), log=own)).run())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(young, 0.3)  # it may only be late to be known


async def test_a_repeat_is_finished_and_writes_nothing() -> None:
    """Another source of the same dispatch holds the turn."""
    stage = Stage(ScriptedEngine(said("x")))
    stage.log.records = [_claim(1, source=Source("inference.default", 1, 1))]
    assert await stage.course(dispatch(), is_new=False).run() is Phase.FINISHED
    assert len(stage.log.records) == 1
    assert not stage.outlet.facts


async def test_a_zombie_that_was_refused_leaves() -> None:
    """The group says that the partition is another's: nothing is written, nothing is finished."""
    stage = Stage(ScriptedEngine(said("x")))
    stage.log.records = [_claim(1, generation=9)]
    assert await stage.course(dispatch(), is_new=False).run() is Phase.LEFT
    assert len(stage.log.records) == 1


async def test_an_owner_with_a_lower_generation_gives_the_turn_back() -> None:
    """The group's generations began again: only a new dispatch number settles who runs the turn."""
    stage = Stage(ScriptedEngine(said("x")), is_owner=True)
    stage.log.records = [_claim(1, generation=9)]
    assert await stage.course(dispatch(), is_new=False).run() is Phase.FINISHED
    [(topic, record)] = stage.outlet.facts
    assert topic == topics.TURNS
    assert isinstance(record, TurnReturned)


@pytest.mark.parametrize(
    ("why", "reason"), [(Interrupt.CANCELLED, Reason.CANCELLED), (Interrupt.EXPIRED, Reason.EXPIRED)]
)
async def test_an_interrupt_ends_the_engine_and_the_turn(why: Interrupt, reason: Reason) -> None:
    """A stop or a deadline closes the engine's iterator and ends the turn with what was shown."""
    engine = ScriptedEngine(said("a", "b", finish=None))
    stage = Stage(engine)
    course = stage.course(dispatch())
    running = asyncio.create_task(course.run())
    await _shows(stage, "ab")
    course.interrupt(why)
    assert await running is Phase.FINISHED
    assert _reason(stage) is reason
    assert engine.open_generations == 0
    assert stage.freed == 1


async def test_what_was_made_before_the_claim_is_counted_when_a_stop_throws_it_away() -> None:
    """Tokens that the engine made beside the claim cost as much as any other."""
    engine, is_acked = ScriptedEngine(said("a", "b", "c", finish=None)), asyncio.Event()

    class LateLog(MemoryLog):
        async def send(self, log: LogAddress, record: Record, *, trace: str | None = None) -> "asyncio.Future[int]":
            ack = await super().send(log, record, trace=trace)

            async def late() -> int:
                await is_acked.wait()
                return await ack

            return asyncio.create_task(late())

    stage = Stage(engine, log=LateLog())
    course = stage.course(dispatch())
    running = asyncio.create_task(course.run())

    async def all_made() -> bool:
        return stage.tokens == 3

    await until(all_made, every_s=0.001)
    course.interrupt(Interrupt.CANCELLED)
    is_acked.set()
    assert await running is Phase.FINISHED
    end = stage.fold().ended
    assert end is not None
    assert (end.reason, end.discarded_tokens, stage.fold().text) == (Reason.CANCELLED, 3, "")
    usage = stage.outlet.facts[-2][1]
    assert getattr(usage, "generated_tokens", None) == 3


async def test_an_outage_of_an_hour_is_waited_out() -> None:
    """However often an attempt was lost, the pause before the next is a number."""
    course = Stage(None).course(dispatch())
    course.interrupt(Interrupt.HANDED_OVER)
    async with asyncio.timeout(1):
        await course._pause(5_000, wakes=True)


async def test_a_stopped_turn_never_meets_the_engine() -> None:
    """A stop known before the turn starts costs no prompt token."""
    engine = ScriptedEngine(said("a"))
    stage = Stage(engine, stopped=True)
    await stage.course(dispatch()).run()
    assert _reason(stage) is Reason.CANCELLED
    assert not engine.requests


async def test_a_turn_past_its_deadline_never_meets_the_engine() -> None:
    """What arrives too late ends as expired."""
    engine = ScriptedEngine(said("a"))
    stage = Stage(engine)
    await stage.course(dispatch(deadline_at="2001-01-01T00:00:00.000Z")).run()
    assert _reason(stage) is Reason.EXPIRED
    assert not engine.requests


async def test_a_hand_over_leaves_at_a_token_boundary() -> None:
    """All that was shown is acknowledged, no end is written, and a successor continues the text."""
    engine = ScriptedEngine(said("a", "b", finish=None))
    stage = Stage(engine)
    course = stage.course(dispatch())
    running = asyncio.create_task(course.run())
    await _shows(stage, "ab")
    course.interrupt(Interrupt.HANDED_OVER)
    assert await running is Phase.LEFT
    assert stage.fold().ended is None
    assert [record.type for record in stage.log.records][-1] == "turn.released"
    assert not stage.outlet.facts
    successor = Stage(ScriptedEngine(said("c")), log=stage.log)
    assert await successor.course(dispatch(), generation=6, is_new=False).run() is Phase.FINISHED
    assert successor.fold().text == "abc"


async def test_closing_ends_for_the_gates_reason() -> None:
    """Without an engine the turn ends as the dispatch says, with its error or the reason's own."""
    error = Failure(ErrorCode.UNAVAILABLE, "nobody", retriable=True)
    stage = Stage(None)
    await stage.course(dispatch(reason=Reason.FAILED, error=error)).run()
    end = stage.fold().ended
    assert end is not None
    assert (end.reason, end.error) == (Reason.FAILED, error)
    other = Stage(None)
    await other.course(dispatch(reason=Reason.EXPIRED)).run()
    end = other.fold().ended
    assert end is not None
    assert end.error is not None
    assert end.error.code is ErrorCode.DEADLINE


async def test_a_turn_goes_back_when_its_engine_fails() -> None:
    """What was shown is acknowledged, the log says that the worker lives, and the gate learns how often and where."""
    stage = Stage(ScriptedEngine(said("a", "b", fails=EngineFailed("once"))))
    assert await stage.course(dispatch(failures=1, discarded_tokens=4)).run() is Phase.FINISHED
    assert stage.fold().text == "ab"
    assert [record.type for record in stage.log.records][-1] == "turn.released"
    assert stage.freed == 1
    [(topic, record)] = stage.outlet.facts
    assert topic == topics.TURNS
    assert isinstance(record, TurnReturned)
    assert (record.failures, record.shown, record.worker, record.discarded_tokens) == (2, True, "w1", 4)


async def test_another_worker_goes_on_behind_a_failed_engine() -> None:
    """Under the next dispatch the answer goes on behind what was shown, and nothing generated is forgotten."""
    policy = PolicyPublished(
        id="p", at=AT, policy="p", policy_version=1, rules=({"rule": "r", "texts": ["secret"]},), sentence="No."
    )
    failing = Stage(ScriptedEngine(said("ab ", "sec", fails=EngineFailed("once"))))
    _put_in_force(failing, policy)
    await failing.course(dispatch()).run()
    [(_, returned)] = failing.outlet.facts
    assert isinstance(returned, TurnReturned)
    assert (returned.shown, returned.discarded_tokens) == (True, 1)
    heir = Stage(ScriptedEngine(said("c")), log=failing.log, worker="w2")
    again = dispatch(dispatch=2, failures=returned.failures, discarded_tokens=returned.discarded_tokens)
    assert await heir.course(again).run() is Phase.FINISHED
    assert heir.fold().text == "ab c"
    assert heir.fold().cursor.attempt == 2
    usage = heir.outlet.facts[-2][1]
    assert (getattr(usage, "generated_tokens", None), getattr(usage, "discarded_tokens", None)) == (3, 1)


async def test_a_return_is_said_until_it_is_acknowledged() -> None:
    """A broker away behind a failure brings no new claim: the same return is said once it answers."""
    engine = ScriptedEngine(said(fails=EngineFailed("once")))
    stage = Stage(engine)
    stage.outlet.failures = 3
    assert await stage.course(dispatch()).run() is Phase.FINISHED
    assert len(stage.outlet.facts) == 1
    assert len(engine.requests) == 1
    assert [record.type for record in stage.log.records] == ["turn.started", "turn.released"]


@pytest.mark.parametrize(
    ("why", "reason"), [(Interrupt.CANCELLED, Reason.CANCELLED), (Interrupt.EXPIRED, Reason.EXPIRED)]
)
async def test_a_stop_ends_a_turn_between_two_engines(why: Interrupt, reason: Reason) -> None:
    """Behind a failure nothing has to start for a turn to be stopped or to expire."""
    stage = Stage(ScriptedEngine(said("a", fails=EngineFailed("once"))))
    course = stage.course(dispatch(failures=9))
    running = asyncio.create_task(course.run())

    async def is_between() -> bool:
        return stage.freed == 1

    await until(is_between, every_s=0.001)
    course.interrupt(why)
    assert await running is Phase.FINISHED
    assert (_reason(stage), stage.fold().text) == (reason, "a")


def _unclean(deaths: int, *, alone: int = 0) -> list[Record]:
    """The claims of workers that died, the last `alone` of them with nobody else in their engine."""
    return [
        replace(_claim(number), worker=f"dead{number}", alone=number > deaths - alone)
        for number in range(1, deaths + 1)
    ]


async def test_one_death_changes_nothing() -> None:
    """Behind one death a turn comes back with all others: most likely a neighbour was to blame."""
    stage = Stage(ScriptedEngine(said("x")))
    stage.log.records = _unclean(1)
    await stage.course(dispatch(), is_new=False).run()
    assert (_reason(stage), stage.lonely) == (Reason.STOP, 0)
    [*_, claim] = [record for record in stage.log.records if isinstance(record, TurnStarted)]
    assert (claim.worker, claim.alone) == ("w1", False)


async def test_a_turn_that_met_two_deaths_runs_alone() -> None:
    """It claims once it is alone, with the mark in its claim, and the engine hears nothing of it before."""
    engine = ScriptedEngine(said("x"))
    stage = Stage(engine)
    stage.log.records = _unclean(2)
    running = asyncio.create_task(stage.course(dispatch(), is_new=False).run())

    async def waits() -> bool:
        return stage.lonely == 1

    await until(waits, every_s=0.001)
    assert (len(stage.log.records), engine.requests) == (2, [])
    stage.is_empty.set()
    assert await running is Phase.FINISHED
    claim = stage.log.records[2]
    assert isinstance(claim, TurnStarted)
    assert claim.alone
    assert _reason(stage) is Reason.STOP


@pytest.mark.parametrize(
    ("why", "reason"), [(Interrupt.CANCELLED, Reason.CANCELLED), (Interrupt.EXPIRED, Reason.EXPIRED)]
)
async def test_waiting_to_be_alone_delays_no_end(why: Interrupt, reason: Reason) -> None:
    """A stop or a deadline ends a turn that waits to be alone, without the engine."""
    engine = ScriptedEngine(said("x"))
    stage = Stage(engine)
    stage.log.records = _unclean(2)
    course = stage.course(dispatch(), is_new=False)
    running = asyncio.create_task(course.run())

    async def waits() -> bool:
        return stage.lonely == 1

    await until(waits, every_s=0.001)
    course.interrupt(why)
    assert await running is Phase.FINISHED
    assert (_reason(stage), engine.requests) == (reason, [])


async def test_waiting_to_be_alone_delays_no_hand_over() -> None:
    """A graceful stop takes a waiting turn along without a claim: it is the next owner's."""
    stage = Stage(ScriptedEngine(said("x")))
    stage.log.records = _unclean(2)
    course = stage.course(dispatch(), is_new=False)
    running = asyncio.create_task(course.run())

    async def waits() -> bool:
        return stage.lonely == 1

    await until(waits, every_s=0.001)
    course.interrupt(Interrupt.HANDED_OVER)
    assert await running is Phase.LEFT
    assert len(stage.log.records) == 2


async def test_deaths_met_alone_end_a_turn() -> None:
    """A turn that killed max_attempts workers alone ends as failed; deaths in company never count."""
    stage = Stage(ScriptedEngine(said("x")))
    stage.log.records = _unclean(5, alone=3)
    await stage.course(dispatch(max_attempts=3), is_new=False).run()
    end = stage.fold().ended
    assert end is not None
    assert end.error is not None
    assert (end.reason, end.error.code) == (Reason.FAILED, ErrorCode.ENGINE_FAILED)
    innocent = Stage(ScriptedEngine(said("x")))
    innocent.log.records = _unclean(9, alone=2)
    innocent.is_empty.set()
    await innocent.course(dispatch(max_attempts=3), is_new=False).run()
    assert _reason(innocent) is Reason.STOP


async def test_poison_ends_with_the_sentence_where_there_is_one() -> None:
    """A turn that kills its workers says its pool's sentence, as one that failed everywhere does."""
    stage = Stage(ScriptedEngine(said("x")))
    stage.log.records = _unclean(3, alone=3)
    await stage.course(dispatch(max_attempts=3, degraded=False, fallback_sentence="Sorry."), is_new=False).run()
    end = stage.fold().ended
    assert end is not None
    assert (stage.fold().text, end.reason, end.degraded) == ("Sorry.", Reason.STOP, True)


async def test_a_sentence_stands_in_for_an_answer() -> None:
    """`closing` says it where nothing was shown: an answer to readers, an error to analysts, a token to nobody."""
    error = Failure(ErrorCode.ENGINE_FAILED, "5 engines failed", retriable=True)
    stage = Stage(None)
    sentence = dispatch(reason=Reason.FAILED, error=error, degraded=True, fallback_sentence="Try later.", dispatch=2)
    await stage.course(sentence).run()
    end = stage.fold().ended
    assert end is not None
    assert (stage.fold().text, end.reason, end.error, end.detail.error) == ("Try later.", Reason.STOP, None, error)
    assert [topic for topic, _ in stage.outlet.facts] == [topics.USAGE, topics.TURNS]
    usage = stage.outlet.facts[0][1]
    assert getattr(usage, "delivered_tokens", None) == 0


async def test_a_sentence_whose_end_was_lost_is_not_said_again() -> None:
    """The next attempt finds it in the log, says nothing more, and ends as the first would have."""
    error = Failure(ErrorCode.ENGINE_FAILED, "5 engines failed", retriable=True)
    stage = Stage(None)
    stage.log.records = [_claim(1), delta(TURN, 1, 0, "Try later.", tokens=0)]
    await stage.course(dispatch(reason=Reason.FAILED, error=error, fallback_sentence="Try later.", dispatch=2)).run()
    assert (_reason(stage), stage.fold().text) == (Reason.STOP, "Try later.")


async def test_a_sentence_is_never_joined_to_an_answer() -> None:
    """Behind shown text the turn ends as failed, whatever the sentence is; likewise where no engine has failed."""
    error = Failure(ErrorCode.ENGINE_FAILED, "5 engines failed", retriable=True)
    stage = Stage(None)
    stage.log.records = [_claim(1), delta(TURN, 1, 0, "half an")]
    late = dispatch(reason=Reason.FAILED, error=error, fallback_sentence="Try later.", dispatch=2)
    await stage.course(late).run()
    assert (_reason(stage), stage.fold().text) == (Reason.FAILED, "half an")
    expired = Stage(None)
    await expired.course(dispatch(reason=Reason.EXPIRED, fallback_sentence="Try later.")).run()
    assert (_reason(expired), expired.fold().text) == (Reason.EXPIRED, "")


async def test_a_course_that_is_dropped_before_it_owns_says_so_too() -> None:
    """A partition lost between the claim's append and its reading back leaves no death."""
    stage = Stage(ScriptedEngine(said("a", finish=None)))
    running = asyncio.create_task(stage.course(dispatch()).run())

    async def has_claimed() -> bool:
        return bool(stage.log.records)

    await until(has_claimed, every_s=0)
    running.cancel()
    await asyncio.wait({running})
    claim, release = stage.log.records
    assert (claim.type, release.type, release.attempt) == ("turn.started", "turn.released", claim.attempt)


async def test_a_course_that_is_dropped_says_that_its_worker_lives() -> None:
    """A partition lost alive is no death: the release stands in the log, once."""
    stage = Stage(ScriptedEngine(said("a", finish=None)))
    running = asyncio.create_task(stage.course(dispatch()).run())
    await _shows(stage, "a")
    running.cancel()
    await asyncio.wait({running})
    assert [record.type for record in stage.log.records] == ["turn.started", "turn.delta", "turn.released"]


async def test_a_dying_worker_releases_nothing() -> None:
    """What a worker lets go of because its engine died, or some course broke, counts as met by a death."""
    stage = Stage(ScriptedEngine(said("a", finish=None)), may_release=False)
    running = asyncio.create_task(stage.course(dispatch()).run())
    await _shows(stage, "a")
    running.cancel()
    await asyncio.wait({running})
    assert [record.type for record in stage.log.records] == ["turn.started", "turn.delta"]


async def test_a_prompt_without_room_is_the_callers_fault() -> None:
    """ContextTooLarge ends the turn under its own code, at once."""
    stage = Stage(ScriptedEngine(said(fails=ContextTooLarge("no room"))))
    await stage.course(dispatch()).run()
    end = stage.fold().ended
    assert end is not None
    assert end.error is not None
    assert end.error.code is ErrorCode.CONTEXT_TOO_LARGE


async def test_options_out_of_range_end_the_turn() -> None:
    """Options that no engine could follow end the turn as failed, not the worker."""
    stage = Stage(ScriptedEngine(said("x")))
    await stage.course(dispatch(options=Options(temperature=-1.0))).run()
    end = stage.fold().ended
    assert end is not None
    assert end.error is not None
    assert end.error.code is ErrorCode.INVALID_REQUEST


async def test_a_dead_engine_is_told_upwards() -> None:
    """EngineDead leaves the course as it is: nothing is ended, nothing is finished."""
    stage = Stage(ScriptedEngine(said("a", fails=EngineDead("gone"))))
    with pytest.raises(EngineDead):
        await stage.course(dispatch()).run()
    assert stage.fold().ended is None
    assert [record.type for record in stage.log.records][-1] == "turn.delta"


@pytest.mark.parametrize("lands", [False, True])
@pytest.mark.parametrize("place", range(5))
async def test_a_failed_append_anywhere_is_survived(place: int, lands: bool) -> None:
    """Whichever append fails, landed or not: the attempt is over, another one ends the turn with the same text."""
    stage = Stage(ScriptedEngine(said("a", "b", "c"), said("a", "b", "c")))
    failing = stage.log

    send = failing.send
    sent = 0

    async def counted(log: LogAddress, record: Record, *, trace: str | None = None) -> "asyncio.Future[int]":
        nonlocal sent
        if sent == place:
            failing.fail_next(lands=lands)
        sent += 1
        return await send(log, record, trace=trace)

    failing.send = counted  # type: ignore[method-assign, assignment]
    stage.engine = _Continuing()
    assert await stage.course(dispatch()).run() is Phase.FINISHED
    fold = stage.fold()
    assert fold.ended is not None
    assert fold.text == "abc"
    completed = [record for topic, record in stage.outlet.facts if topic == topics.TURNS]
    assert [getattr(record, "log_end", None) for record in completed] == [fold.end_offset]


class _Continuing(ScriptedEngine):
    """Says `abc`, whatever of it is said already."""

    def generate(self, request: GenerationRequest) -> Answer:
        left = "abc"[len(request.emitted_text) :]
        self._scripts = [said(*left)]
        return super().generate(request)


async def test_projecting_is_repeated_until_it_is_acknowledged() -> None:
    """A broker away behind the end costs nothing but time: the facts are said once it answers."""
    stage = Stage(ScriptedEngine(said("a")))
    stage.outlet.failures = 2
    assert await stage.course(dispatch()).run() is Phase.FINISHED
    assert [topic for topic, _ in stage.outlet.facts] == [topics.VERDICTS, topics.USAGE, topics.TURNS]
    assert len([record for record in stage.log.records if record.type == "turn.ended"]) == 1


async def test_a_displaced_worker_stays_silent() -> None:
    """A claim above ours makes our deltas and our end dropped; by that claim we are the zombie."""
    engine = ScriptedEngine(said("a", "b", "c", is_open=False))
    script = engine._scripts[0]
    stage = Stage(engine)
    running = asyncio.create_task(stage.course(dispatch()).run())

    async def claimed() -> bool:
        return bool(stage.log.records)

    await until(claimed, every_s=0.001)
    stage.log.records.append(_claim(2, generation=6))
    script.is_open.set()
    assert await running is Phase.LEFT
    assert stage.fold().text == ""
    assert stage.fold().ended is None
    assert not stage.outlet.facts


async def test_withheld_text_stays_here() -> None:
    """A match ends the turn as withheld: its pieces are counted, not shown, and the sentence stands in the detail."""
    engine = ScriptedEngine(said("fine ", "sec", "ret", " more"))
    stage = Stage(engine)
    policy = PolicyPublished(
        id="p", at=AT, policy="p", policy_version=1, rules=({"rule": "r", "texts": ["secret"]},), sentence="No."
    )
    _put_in_force(stage, policy)
    await stage.course(dispatch()).run()
    end = stage.fold().ended
    assert end is not None
    assert (end.reason, end.detail.refusal, end.withheld_tokens) == (Reason.WITHHELD, "No.", 3)
    assert stage.fold().text == "fine "
    assert engine.open_generations == 0


def _put_in_force(stage: Stage, policy: PolicyPublished) -> None:
    stage.policies.on_entry(0, Entry(0, 0, b"p", codec.encode(policy)))
