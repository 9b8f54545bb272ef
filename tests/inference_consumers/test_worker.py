"""The whole worker as a process, on a real Kafka and the simulated engine."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from inference_consumers.claims.procedure import LogView
from infra.local.node import local_kafka
from schemas import instants, topics
from schemas.errors import ErrorCode
from schemas.records import (
    DeadLettered,
    PolicyPublished,
    TurnDispatched,
    TurnReturned,
    VerdictReached,
    WorkerReported,
)
from schemas.turns import Action, Failure, LogAddress, Reason
from tests.inference_consumers.pool import POOL, TAKEOVER_S, Pool, dispatch_of, now_ms, open_pool
from tests.support.contract import words
from tests.support.waiting import until


async def test_a_turn_is_claimed_streamed_ended_and_projected(pool: Pool) -> None:
    """A dispatched turn ends with its whole answer in the log, one turn record and one usage record."""
    turn = dispatch_of("tokens: 40")
    async with pool.worker():
        await pool.dispatch(turn)
        fold = await pool.ended(turn)
    assert fold.text == words(40)
    assert fold.ended is not None
    assert fold.ended.reason is Reason.STOP
    assert fold.cursor.attempt == 1
    [completed] = await pool.completed(turn)
    [usage] = await pool.usage(turn)
    assert completed.output_text == words(40)
    assert completed.log_end == fold.end_offset
    assert (usage.generated_tokens, usage.delivered_tokens, usage.attempts) == (40, 40, 1)


async def test_an_unstored_turn_rides_its_lane(pool: Pool) -> None:
    """In a lane shared with other conversations each turn finds its own records, and texts stay out of chat.turns."""
    lane = LogAddress(topics.UNSTORED_LANES, 1)
    turns = [dispatch_of(f"tokens: {number}", log=lane, stored=False) for number in range(5, 15)]
    async with pool.worker(PARLEY_SIMULATED_TOKENS_PER_S="200"):
        for turn in turns:
            await pool.dispatch(turn)
        folds = [await pool.ended(turn) for turn in turns]
    assert [fold.text for fold in folds] == [words(number) for number in range(5, 15)]
    [completed] = await pool.completed(turns[0])
    assert completed.output_text is None


async def test_a_running_turn_stops_within_a_step(pool: Pool) -> None:
    """A stop ends a running answer as cancelled, with what was shown kept and the engine's work over."""
    turn = dispatch_of("tokens: 4000")
    async with pool.worker():
        await pool.dispatch(turn)
        await pool.shown(turn, deltas=3)
        await pool.stop_turn(turn)
        fold = await pool.ended(turn)
    assert fold.ended is not None
    assert fold.ended.reason is Reason.CANCELLED
    assert words(4000).startswith(fold.text)
    [usage] = await pool.usage(turn)
    assert usage.generated_tokens == usage.delivered_tokens + usage.discarded_tokens


async def test_a_waiting_turn_stops_without_the_engine(pool: Pool) -> None:
    """A turn that waits for a slot ends as cancelled at once and costs no prompt token."""
    busy, waiting = dispatch_of("tokens: 4000"), dispatch_of("tokens: 10")
    async with pool.worker(PARLEY_SIMULATED_SLOTS="1"):
        await pool.dispatch(busy)
        await pool.shown(busy)
        await pool.dispatch(waiting)
        await pool.stop_turn(waiting)
        fold = await pool.ended(waiting)
        assert (await pool.fold(busy)).ended is None
    assert fold.ended is not None
    assert fold.ended.reason is Reason.CANCELLED
    [usage] = await pool.usage(waiting)
    assert (usage.prompt_tokens, usage.generated_tokens) == (0, 0)


async def test_a_stop_from_before_the_worker_counts(pool: Pool) -> None:
    """A stop asked for while no worker lived ends the turn that is dispatched later."""
    turn = dispatch_of("tokens: 10")
    await pool.stop_turn(turn)
    async with pool.worker():
        await pool.dispatch(turn)
        fold = await pool.ended(turn)
    assert fold.ended is not None
    assert fold.ended.reason is Reason.CANCELLED


async def test_a_turn_past_its_deadline_ends_as_expired(pool: Pool) -> None:
    """A running turn and a waiting one end as expired at their deadlines."""
    busy = dispatch_of("tokens: 4000", deadline_s=1.5)
    waiting = dispatch_of("tokens: 4", deadline_s=1.0)
    async with pool.worker(PARLEY_SIMULATED_SLOTS="1"):
        await pool.dispatch(busy)
        await pool.dispatch(waiting)
        folds = [await pool.ended(turn) for turn in (busy, waiting)]
    for fold in folds:
        assert fold.ended is not None
        assert fold.ended.reason is Reason.EXPIRED
        assert fold.ended.error is not None
        assert fold.ended.error.code is ErrorCode.DEADLINE


async def test_the_pool_closing_ends_turns_for_its_reason(pool: Pool) -> None:
    """A worker of `closing` ends what is dispatched there through a claim, over what an earlier attempt showed."""
    turn = dispatch_of("tokens: 4000")
    async with pool.worker():
        await pool.dispatch(turn)
        await pool.shown(turn, deltas=2)
        error = Failure(ErrorCode.DEADLINE, "too late", retriable=True)
        closing = replace(turn, pool=topics.CLOSING_POOL, dispatch=2, reason=Reason.EXPIRED, error=error)
        async with pool.worker(pool=topics.CLOSING_POOL):
            await pool.again(closing)
            fold = await pool.ended(turn)
    assert fold.ended is not None
    assert (fold.ended.reason, fold.ended.error, fold.ended.attempt) == (Reason.EXPIRED, error, 2)
    assert words(4000).startswith(fold.text)
    assert fold.text


async def test_withheld_text_never_reaches_the_log(pool: Pool) -> None:
    """A rule that matches the answer ends it as withheld, with the policy's sentence and nothing of the match shown."""
    published = PolicyPublished(
        id="p.1", at=instants.from_ms(now_ms()), policy="secrets", policy_version=1,
        rules=({"rule": "word", "texts": ["w7 w8"], "stage": "output"},), sentence="I can't say that.",
    )  # fmt: skip
    await pool.appender.append(topics.POLICIES, published)
    turn = dispatch_of("tokens: 50")
    async with pool.worker():
        await pool.dispatch(turn)
        fold = await pool.ended(turn)
    assert fold.ended is not None
    assert fold.ended.reason is Reason.WITHHELD
    assert fold.ended.detail.refusal == "I can't say that."
    assert "w7" not in fold.text
    assert fold.text == words(7)
    assert fold.ended.withheld_tokens > 0
    [verdict] = await pool.records(VerdictReached, topics.VERDICTS, turn.turn)
    assert (verdict.action, verdict.rule, verdict.policy_version) == (Action.WITHHOLD, "word", 1)


async def test_a_failing_engine_gives_its_turn_back(pool: Pool) -> None:
    """What was shown stays, the source is finished, and the gate learns whose engine failed and how often."""
    turn = dispatch_of("tokens: 30")
    async with pool.worker(PARLEY_SIMULATED_FAIL_RATE="1") as worker:
        await pool.dispatch(turn, partition=0)

        async def ask() -> list[TurnReturned]:
            return await pool.records(TurnReturned, topics.TURNS, turn.turn)

        [returned] = await until(ask)
        await _committed(pool, "", offset=1)
        assert worker.process.returncode is None
        report = await _owning(pool, 0, 1)
    fold = await pool.fold(turn)
    assert (fold.ended, fold.text) == (None, words(3))
    assert (returned.failures, returned.shown, returned.dispatch) == (1, True, 1)
    assert fold.claim is not None
    assert returned.worker == fold.claim.worker == report.worker
    assert [record.type for _offset, record in await pool.log(turn)][-1] == "turn.released"


async def test_a_prompt_without_room_ends_as_failed(pool: Pool) -> None:
    """A prompt that leaves no room for one token ends as failed with context_too_large."""
    turn = dispatch_of("word " * 50)
    async with pool.worker(PARLEY_SIMULATED_MAX_MODEL_LEN="20"):
        await pool.dispatch(turn)
        fold = await pool.ended(turn)
    assert fold.ended is not None
    assert fold.ended.error is not None
    assert fold.ended.error.code is ErrorCode.CONTEXT_TOO_LARGE


async def test_a_dead_engine_ends_the_process_without_a_commit(pool: Pool) -> None:
    """When the engine dies the process exits with 1, and a successor continues the same answer."""
    turn = dispatch_of("tokens: 60")
    async with pool.worker(PARLEY_SIMULATED_DIE_RATE="1") as dying:
        await pool.dispatch(turn)
        assert await dying.ended() == 1
    assert (await pool.fold(turn)).ended is None
    async with pool.worker():
        fold = await pool.ended(turn)
    assert fold.text == words(60)


async def test_a_killed_worker_is_taken_over(pool: Pool) -> None:
    """After a SIGKILL in mid-answer a second worker continues it: the log folds to the text of an unkilled run."""
    turns = [dispatch_of("tokens: 200") for _ in range(4)]
    async with pool.worker() as first, pool.worker() as second:
        for number, turn in enumerate(turns):
            await pool.dispatch(turn, partition=number % 2)
        for turn in turns:
            await pool.shown(turn, deltas=5)
        first.signal(signal.SIGKILL)
        folds = [await pool.ended(turn) for turn in turns]
        assert second.process.returncode is None
    assert [fold.text for fold in folds] == [words(200)] * 4
    assert {fold.cursor.attempt for fold in folds} == {1, 2}
    assert {await _deaths(pool, turn) for turn in turns} == {(0, 0), (1, 0)}
    for turn in turns:
        assert {usage.id for usage in await pool.usage(turn)} == {f"{turn.turn}.usage"}


async def test_a_frozen_worker_adds_nothing_visible(pool: Pool) -> None:
    """A worker stopped past its session and continued writes only what every reader drops, then joins anew."""
    turn = dispatch_of("tokens: 300")
    async with pool.worker() as first:
        await pool.dispatch(turn, partition=0)
        await pool.shown(turn, deltas=5)
        async with pool.worker() as second:
            first.signal(signal.SIGSTOP)
            await second.said("generation")
            await _claimed_again(pool, turn)
            first.signal(signal.SIGCONT)
            fold = await pool.ended(turn)
            await first.said("expelled")
            late = dispatch_of("tokens: 5")
            await pool.dispatch(late, partition=0)
            assert (await pool.ended(late)).text == words(5)
    assert fold.text == words(300)
    assert await _deaths(pool, turn) == (0, 0)  # it was frozen, not dead, and said so
    completed = await pool.completed(turn)
    assert all(record == completed[0] for record in completed)


async def _owning(pool: Pool, *partitions: int) -> WorkerReported:
    """The report of the worker that owns exactly these partitions."""

    async def ask() -> WorkerReported | None:
        reports = await pool.records(WorkerReported, topics.WORKERS)
        return reports[-1] if reports and reports[-1].partitions == partitions else None

    report = await until(ask)
    assert report is not None
    return report


async def _deaths(pool: Pool, turn: TurnDispatched) -> tuple[int, int]:
    """How many deaths the turn's log tells of, and how many were met alone."""
    assert turn.turn is not None
    view = LogView.begin(turn.turn, 0)
    for offset, record in await pool.log(turn):
        view.take(offset, record)
    toll = view.deaths.toll(None if view.fold.claim is None else view.fold.claim.worker)
    return toll.deaths, toll.alone


async def _claimed_again(pool: Pool, turn: TurnDispatched) -> None:
    async def ask() -> bool:
        return (await pool.fold(turn)).cursor.attempt > 1

    await until(ask, limit_s=TAKEOVER_S)


async def test_running_turns_are_kept_through_a_rebalance(pool: Pool) -> None:
    """A second worker that joins takes no running turn of a kept partition away: such a turn has one claim."""
    turns = [dispatch_of("tokens: 250") for _ in range(2)]
    async with pool.worker() as first:
        for number, turn in enumerate(turns):
            await pool.dispatch(turn, partition=number)
        for turn in turns:
            await pool.shown(turn, deltas=3)
        async with pool.worker():
            folds = [await pool.ended(turn) for turn in turns]
        assert any("kept [" in line and "kept []" not in line for line in first.lines)
    assert [await _deaths(pool, turn) for turn in turns] == [(0, 0), (0, 0)]
    assert [fold.text for fold in folds] == [words(250)] * 2
    assert sorted(fold.cursor.attempt for fold in folds) == [1, 2]


async def test_a_graceful_stop_hands_running_turns_over(pool: Pool) -> None:
    """SIGTERM ends the process in a few seconds; its running turns go on in a second worker where they were left."""
    turns = [dispatch_of("tokens: 300") for _ in range(3)]
    async with pool.worker() as first:
        for turn in turns:
            await pool.dispatch(turn)
        for turn in turns:
            await pool.shown(turn, deltas=3)
        async with pool.worker():
            first.signal(signal.SIGTERM)
            began = time.monotonic()
            assert await first.ended() == 0
            assert time.monotonic() - began < 5
            folds = [await pool.ended(turn) for turn in turns]
    assert [fold.text for fold in folds] == [words(300)] * 3
    assert [await _deaths(pool, turn) for turn in turns] == [(0, 0)] * 3
    for turn in turns:
        [usage] = await pool.usage(turn)
        assert usage.regenerated_tokens == 0


async def test_what_ended_out_of_order_is_not_begun_again(pool: Pool) -> None:
    """Finished turns above an unfinished one travel in the commit: a successor claims only the unfinished one."""
    slow, quick = dispatch_of("tokens: 400"), [dispatch_of("tokens: 3") for _ in range(6)]
    async with pool.worker() as first:
        await pool.dispatch(slow, partition=0)
        for turn in quick:
            await pool.dispatch(turn, partition=0)
        for turn in quick:
            await pool.ended(turn)
        await _committed(pool, "r1:")
        first.signal(signal.SIGKILL)
        await first.ended()
    async with pool.worker():
        fold = await pool.ended(slow, limit_s=30)
        await _committed(pool, "", offset=7)
    assert fold.text == words(400)
    assert [len(await pool.completed(turn)) for turn in quick] == [1] * 6


async def _committed(pool: Pool, beginning: str, *, offset: int = 0) -> None:
    """Wait until the group's commit of partition 0 is at this offset with such metadata."""
    settings = pool.settings
    group, topic = settings.named(f"parley-inference-{POOL}"), settings.named(f"inference.{POOL}")
    client = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await client.start()

    async def ask() -> bool:
        found = (await client.list_consumer_group_offsets(group)).get(TopicPartition(topic, 0))
        return found is not None and found.offset == offset and found.metadata.startswith(beginning)

    try:
        await until(ask)
    finally:
        await client.close()


async def test_a_dispatch_that_cannot_be_read_goes_to_dead_letters(pool: Pool) -> None:
    """Broken bytes on the pool's topic are told with their place, and the turns behind them are answered."""
    await pool.appender.append_bytes(f"inference.{POOL}", b'{"type":"TurnDispatched","version":1}', key=b"k")
    turn = dispatch_of("tokens: 3")
    async with pool.worker():
        await pool.dispatch(turn)
        assert (await pool.ended(turn)).text == words(3)

        async def ask() -> list[DeadLettered]:
            return await pool.records(DeadLettered, topics.DEAD_LETTERS)

        [letter] = await until(ask)
    assert (letter.role, letter.source.topic) == ("inference", f"inference.{POOL}")


async def test_the_fleet_hears_of_a_worker_every_second(pool: Pool) -> None:
    """A worker reports itself while it lives and leaves a tombstone when it goes."""
    async with pool.worker() as worker:

        async def ask() -> bool:
            reports = await pool.records(WorkerReported, topics.WORKERS)
            return any(report.state == "ready" for report in reports)

        await until(ask)
        worker.signal(signal.SIGTERM)
        await worker.ended()
    _beginning, end = await pool.reader.bounds(topics.WORKERS, 0)
    last = [entry async for entry in pool.reader.read(topics.WORKERS, 0, end - 1)]
    assert last[0].value is None


async def test_a_killed_kafka_delays_and_changes_nothing(tmp_path: Path, topic_prefix: str) -> None:
    """Kafka is killed in mid-answer and comes back: the turn goes on and ends with the same text, counted once."""
    node = local_kafka(tmp_path / "kafka")
    address = await node.start()
    try:
        async with open_pool(address, topic_prefix) as pool:
            turn = dispatch_of("tokens: 300", deadline_s=300)
            async with pool.worker() as worker:
                await pool.dispatch(turn)
                await pool.shown(turn, deltas=5)
                assert node.pid is not None
                os.kill(node.pid, signal.SIGKILL)
                await node.ended()
                await node.stop()
                assert await node.start() == address
                fold = await pool.ended(turn, limit_s=90)
                late = dispatch_of("tokens: 3")
                await pool.dispatch(late)
                assert (await pool.ended(late)).text == words(3)
                assert worker.process.returncode is None
        assert fold.text == words(300)
    finally:
        await node.stop()
