import asyncio
import dataclasses
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infra.runtime.kafka import Appender, KafkaSettings, Placed
from infra.runtime.metrics import Metrics
from schemas import ids, topics
from schemas.errors import KafkaUnavailable
from schemas.ids import TurnId
from schemas.records import (
    ConversationDeleted,
    ConversationReset,
    DeadLettered,
    Record,
    TurnAllowed,
    TurnRefused,
    TurnRequested,
    VerdictReached,
)
from schemas.turns import Action
from stream_processors.moderation import app, appending
from stream_processors.moderation.app import Moderation
from stream_processors.moderation.publication import checked
from stream_processors.moderation.publishing import push_policy
from stream_processors.moderation.settings import ModerationSettings
from tests.stream_processors.records import Log, new_conversation, requested, reset
from tests.support.samples import sample
from tests.support.waiting import until

FORBIDDEN = checked({"policy": "house", "sentence": "No.", "rules": [{"rule": "words", "texts": ["bomb"]}]})
Make = Callable[..., Moderation]


@pytest.fixture
async def make(kafka_settings: KafkaSettings) -> AsyncIterator[Make]:
    """Moderation services on the test's topics, stopped behind it."""
    made: list[Moderation] = []

    def build(metrics: Metrics | None = None, **settings: Any) -> Moderation:
        service = Moderation(kafka_settings, ModerationSettings(**settings), metrics or Metrics("moderation"))
        made.append(service)
        return service

    yield build
    for service in made:
        await service.stop()


async def send_all(appender: Appender, records: list[Any]) -> None:
    acks = [await appender.send(topics.REQUESTS, record) for record in records]
    await asyncio.gather(*acks)


def turns_in(records: list[Record]) -> list[str]:
    """Each turn once, in the order of its first record."""
    return list(dict.fromkeys(str(record.turn) for record in records))


async def test_turns_are_judged_and_told(
    make: Make, appender: Appender, log: Log, kafka_settings: KafkaSettings
) -> None:
    """A turn goes on allowed, or refused with the policy's sentence, under its conversation's key, and is told."""
    await push_policy(kafka_settings, FORBIDDEN)
    metrics = Metrics("moderation")
    await make(metrics).start()
    good, bad = requested("a cake, please"), requested("a b0mb, please")
    await send_all(appender, [good, bad])
    moderated = {record.turn: record for record in await log.at_least(topics.MODERATED, 2)}
    allowed, refused = moderated[good.turn], moderated[bad.turn]
    assert isinstance(allowed, TurnAllowed)
    assert isinstance(refused, TurnRefused)
    assert (allowed.id, allowed.request, allowed.tenant) == (f"{good.turn}.moderated", good.request, good.tenant)
    assert allowed.verdict.action is Action.ALLOW
    assert (refused.verdict.rule, refused.verdict.policy_version, refused.verdict.sentence) == ("words", 1, "No.")
    keys = {entry.key for entry in await log.entries(topics.MODERATED)}
    assert keys == {str(good.conversation).encode(), str(bad.conversation).encode()}
    verdicts = await log.at_least(topics.VERDICTS, 2)
    assert {(each.turn, each.action) for each in verdicts if isinstance(each, VerdictReached)} == {
        (good.turn, Action.ALLOW),
        (bad.turn, Action.REFUSE),
    }
    counted = 'parley_safety_verdicts_total{action="refuse",rule="words",stage="input"} 1.0'
    await until(lambda: _is_in(counted, metrics))


async def _is_in(line: str, metrics: Metrics) -> bool:
    return line in metrics.exposition().decode()


async def test_a_conversation_keeps_its_order(make: Make, appender: Appender, log: Log) -> None:
    """Turns, resets and the delete of a conversation go on in the order in which they were accepted."""
    conversation = new_conversation()
    first, second = requested("one", conversation), requested("two", conversation)
    deleted = dataclasses.replace(sample(ConversationDeleted), conversation=conversation, turn=None)
    await send_all(appender, [first, reset(conversation), second, deleted])
    await make().start()
    records = await log.at_least(topics.MODERATED, 4)
    assert [type(record) for record in records] == [TurnAllowed, ConversationReset, TurnAllowed, ConversationDeleted]
    assert [record.turn for record in records] == [first.turn, None, second.turn, None]


async def test_unreadable_records_are_kept_for_a_person(make: Make, appender: Appender, log: Log) -> None:
    """What can't be read goes to dead.letters with its place and reason, and its neighbours go on."""
    before, after = requested("before"), requested("after")
    key = str(before.conversation).encode()
    await appender.append(topics.REQUESTS, before)
    placed = await appender.append_bytes(topics.REQUESTS, b'{"type":"TurnRequested"', key=key)
    await appender.append_bytes(topics.REQUESTS, b"\xff\xfe", key=key)
    stranger = dataclasses.replace(sample(TurnAllowed), conversation=before.conversation)
    await appender.append(topics.REQUESTS, stranger)
    await appender.append(topics.REQUESTS, after)
    await make().start()
    assert set(turns_in(await log.at_least(topics.MODERATED, 2))) == {before.turn, after.turn}
    letters = [each for each in await log.at_least(topics.DEAD_LETTERS, 3) if isinstance(each, DeadLettered)]
    assert [each.error for each in letters][-1] == "TurnAllowed does not belong on chat.requests"
    source = letters[0].source
    assert (source.topic, source.partition, source.offset) == (topics.REQUESTS, placed.partition, placed.offset)


async def test_a_policy_counts_at_once(make: Make, appender: Appender, log: Log, kafka_settings: KafkaSettings) -> None:
    """A pushed policy is in force within two seconds, without a restart; a broken record leaves it in force."""
    service = make()
    await service.start()
    await push_policy(kafka_settings, FORBIDDEN)
    await until(lambda: _has_policies(service), limit_s=2, every_s=0.01)
    broken = b'{"type":"PolicyPublished","version":1,"id":"x","at":"x","policy":"house"}'
    await appender.append_bytes(topics.POLICIES, broken, key=b"house")
    await until(lambda: _degraded(service, "policy house is broken: its last good version is in force"))
    await send_all(appender, [requested("a bomb")])
    assert isinstance((await log.at_least(topics.MODERATED, 1))[0], TurnRefused)


async def _has_policies(service: Moderation) -> bool:
    return bool(service.policies.current.policies)


async def _degraded(service: Moderation, what: str) -> bool:
    return what in service.readiness().degraded


async def test_a_clean_end_repeats_nothing(make: Make, appender: Appender, log: Log) -> None:
    """What was finished before a drain is committed: the next process begins behind it."""
    first = make()
    await first.start()
    await send_all(appender, [requested(str(number)) for number in range(50)])
    await log.at_least(topics.MODERATED, 50)
    await first.drain()
    await first.stop()
    await make().start()
    await send_all(appender, [requested("the last")])
    assert len(await log.at_least(topics.MODERATED, 51)) == 51


class FaultyAppender(Appender):
    """Fails the n-th of its awaits, counted over enqueueing and acknowledgements, each as often as asked."""

    def __init__(self, kafka: KafkaSettings, faults: set[int]) -> None:
        super().__init__(kafka, "moderation")
        self.awaits = 0
        self._faults = faults

    def _next(self) -> bool:
        self.awaits += 1
        return self.awaits in self._faults

    async def send(self, *arguments: Any, **options: Any) -> "asyncio.Future[Placed]":
        if self._next():
            raise KafkaUnavailable("refused by the test")
        placed = await super().send(*arguments, **options)
        if not self._next():
            return placed
        await placed
        lost: asyncio.Future[Placed] = asyncio.get_running_loop().create_future()
        lost.set_exception(KafkaUnavailable("acknowledgement lost by the test"))
        return lost


def _holds(wanted: set[TurnId | None], found: list[Record]) -> bool:
    return wanted <= {each.turn for each in found}


async def test_no_failed_append_loses_a_turn(
    make: Make, appender: Appender, log: Log, kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever enqueueing or acknowledgement fails, every turn goes on, and a conversation's turns in their order."""
    monkeypatch.setattr(appending, "_FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr(appending, "_LONGEST_BACKOFF_S", 0.002)
    conversations = [new_conversation() for _ in range(4)]
    turns = [requested(f"{number}", conversation) for number in range(10) for conversation in conversations]
    for stride in (2, 3, 7):
        service = make()
        faulty = FaultyAppender(kafka_settings, set(range(1, 400, stride)))
        service._appender = service._patient._appender = faulty
        await service.start()
        sent = [
            dataclasses.replace(turn, turn=ids.turn_id(turn.conversation, uuid.uuid4().hex))
            for turn in turns
            if turn.conversation
        ]
        await send_all(appender, sent)
        wanted = {each.turn for each in sent}
        records = await log.until(topics.MODERATED, partial(_holds, wanted))
        assert faulty.awaits > len(sent)
        for conversation in conversations:
            order = [each for each in turns_in(records) if each in wanted and each[5:37] == conversation[5:]]
            assert order == [each.turn for each in sent if each.conversation == conversation]
        await service.stop()


@pytest.mark.parametrize("method", ["append_all", "_count"])
async def test_a_bug_ends_the_process_before_it_commits(
    make: Make, appender: Appender, log: Log, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """An error that nobody expected ends the process; what it was met at is judged by the next one."""
    ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    def end(error: BaseException) -> None:
        if not ended.done():
            ended.set_result(error)

    monkeypatch.setattr(app, "end_process", end)
    service = make()
    target = service._patient if method == "append_all" else service

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(target, method, broken)
    await service.start()
    turn = requested("x")
    await send_all(appender, [turn])
    assert isinstance(await asyncio.wait_for(ended, 20), ZeroDivisionError)
    await service.stop()
    await make().start()
    assert turn.turn in turns_in(await log.at_least(topics.MODERATED, 1))


async def test_a_rebalance_loses_nothing(make: Make, appender: Appender, log: Log) -> None:
    """While members come and go under load, every turn goes on, in the order of its conversation."""
    conversations = [new_conversation() for _ in range(40)]
    steady = make(batch=8)
    await steady.start()
    sent: list[TurnRequested] = []

    async def load() -> None:
        for number in range(60):
            turns = [requested(f"{number}", each) for each in conversations]
            sent.extend(turns)
            await send_all(appender, turns)

    loading = asyncio.create_task(load())
    while not loading.done():
        passing = make(batch=8)
        await passing.start()
        await passing.drain()
        await passing.stop()
    await loading
    wanted = {turn.turn for turn in sent}
    records = await log.until(topics.MODERATED, partial(_holds, wanted), limit_s=60)
    order = turns_in(records)
    for conversation in conversations[:10]:
        mine = [str(turn.turn) for turn in sent if turn.conversation == conversation]
        assert [turn for turn in order if turn[5:37] == conversation[5:]] == mine


async def test_a_kill_loses_nothing(appender: Appender, log: Log, kafka_settings: KafkaSettings) -> None:
    """Killed in the middle of its batches, again and again, the service loses no turn and no order."""
    conversations = [new_conversation() for _ in range(50)]
    sent = [requested(f"{number}", each) for number in range(60) for each in conversations]
    await send_all(appender, sent)
    wanted = {turn.turn for turn in sent}
    for share in (0.1, 0.3, 0.6):
        process = await start_process(kafka_settings)
        await log.at_least(topics.MODERATED, int(share * len(sent)), limit_s=60)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    last = await start_process(kafka_settings, stderr=asyncio.subprocess.PIPE)
    # Those that were killed may have judged all of it: it is told to end only once it listens for that.
    await said(last, b"moderation is up")
    records = await log.until(topics.MODERATED, partial(_holds, wanted), limit_s=90)
    last.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(last.wait(), 30) == 0
    order = turns_in(records)
    for conversation in conversations[:10]:
        mine = [str(turn.turn) for turn in sent if turn.conversation == conversation]
        assert [turn for turn in order if turn[5:37] == conversation[5:]] == mine


async def said(process: asyncio.subprocess.Process, words: bytes) -> None:
    """Wait until the process has logged these words."""
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while words not in await process.stderr.readline():
            assert process.returncode is None


async def start_process(
    kafka: KafkaSettings, *, stderr: int = asyncio.subprocess.DEVNULL
) -> asyncio.subprocess.Process:
    """`parley run moderation` in a process of its own."""
    environ = {"PARLEY_KAFKA_BOOTSTRAP": kafka.bootstrap, "PARLEY_KAFKA_TOPIC_PREFIX": kafka.topic_prefix}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "infra.cli.main",
        "run",
        "moderation",
        env={**os.environ, **environ},
        stderr=stderr,
    )


async def test_one_at_a_time(make: Make, tmp_path: Path) -> None:
    """The agent is one task: with more, Faust's commit loses the oldest event under way."""
    agents = list(make()._app(tmp_path).agents.values())
    assert [agent.concurrency for agent in agents] == [1]
