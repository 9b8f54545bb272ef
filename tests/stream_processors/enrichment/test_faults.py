"""The gate killed, frozen and joined by another, on real Kafka: state, then effects, then ack."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from infra.runtime.kafka_log import LogReader
from schemas import topics
from schemas.fold import ConversationFold
from schemas.records import TurnAccepted, TurnAllowed, TurnCompleted, TurnDispatched, TurnEnded
from stream_processors.enrichment.fencing import Stamp, body, read_stamp, stamped
from stream_processors.enrichment.state_codec import unpack
from tests.stream_processors.enrichment.world import POOL, World, allowed, gate, new_conversation

pytestmark = pytest.mark.timeout(240)


@asynccontextmanager
async def gate_process(world: World, directory: Path, *step: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A gate in a process of its own; killed at the end if it still lives."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.stream_processors.enrichment.dying_gate", world.kafka.bootstrap,
        world.kafka.topic_prefix, str(directory), *step, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        if not step:
            await asyncio.wait_for(process.stdout.readline(), 60)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ask_three(world: World) -> list[TurnAllowed]:
    asked = []
    for _ in range(2):
        conversation = new_conversation()
        for number in range(3):
            asked.append(allowed(conversation, f"t{number}", new=number == 0, deadline_s=120))
            await world.ask(asked[-1])
    return asked


async def _check(world: World, asked: list[TurnAllowed]) -> None:
    for each in asked:
        await world.completed(each.turn, within_s=30)
    # The two topics are followed each by itself: a turn's record may be seen before its end.
    await world.until(topics.LANES, lambda seen: all(seen.of(TurnEnded, each.turn) for each in asked))
    for conversation in {each.conversation for each in asked}:
        fold = ConversationFold()
        taken: list[str | None] = []
        rows = [row for row in world.seen[topics.LANES].records if row[2].conversation == conversation]
        for _, _, record in sorted(rows, key=lambda row: row[1]):
            if fold.take(record) and isinstance(record, TurnAccepted | TurnEnded):
                taken.append(f"{record.type} {record.turn}")
        turns = [each.turn for each in asked if each.conversation == conversation]
        assert [each for each in taken if each and "accepted" in each] == [f"turn.accepted {turn}" for turn in turns]
        assert [each for each in taken if each and "ended" in each] == [f"turn.ended {turn}" for turn in turns]
        ends = {(each.turn, each.log_end, each.output_text) for each in world.seen[topics.TURNS].of(TurnCompleted)}
        assert len([end for end in ends if end[0] in turns]) == len(turns), "one end of each turn, however often told"


@pytest.mark.parametrize(("step", "count"), [("changelog", "1"), ("changelog", "4"), ("logs", "2"), ("effects", "3")])
async def test_killed_between_state_effects_and_ack(world: World, tmp_path: Path, step: str, count: str) -> None:
    """Killed when a state is safe, when the log has it, or before the ack: the next life ends every turn in order."""
    async with gate_process(world, tmp_path, step, count) as dying:
        asked = await _ask_three(world)
        assert await asyncio.wait_for(dying.wait(), 60) == -signal.SIGKILL
    async with gate(world, tmp_path):
        await _check(world, asked)


async def test_lost_tables_come_back_from_the_changelog(world: World, tmp_path: Path) -> None:
    """A gate that starts on an empty disk knows every conversation from its changelog."""
    conversation = new_conversation()
    async with gate(world, tmp_path / "one"):
        first = allowed(conversation, "t0")
        await world.ask(first)
        await world.completed(first.turn)
    async with gate(world, tmp_path / "two"):
        second = allowed(conversation, "t1", new=False)
        await world.ask(second)
        ended = await world.completed(second.turn)
    assert (ended.n, ended.parent) == (2, first.turn)
    sent = world.seen[f"inference.{POOL}"].of(TurnDispatched, second.turn)[0]
    assert [message.text for message in sent.messages][1:] == ["t0", "re: t0", "t1"]


async def test_a_zombies_state_undoes_nothing(world: World, tmp_path: Path) -> None:
    """A lower generation's record behind a higher one's is dropped by recovery, which writes the good one again."""
    conversation = new_conversation()
    async with gate(world, tmp_path / "one"):
        first = allowed(conversation, "t0")
        await world.ask(first)
        await world.completed(first.turn)
        async with asyncio.timeout(20):
            while (good := await _newest(world, conversation)) is None or unpack(conversation, body(good)).turns:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    partition, state = 0, unpack(conversation, body(good))
    for partition in range(world.kafka.partitions):
        if await _newest(world, conversation, partition) is not None:
            break
    old = stamped(Stamp(read_stamp(good).generation - 1, 10**6, 0), b'[1,"acme","u1",null,true,"u"' + b",0" * 14 + b"]")
    sent = await world.appender.send_bytes(topics.GATE_CHANGELOG, old, key=conversation.encode(), partition=partition)
    await sent
    async with gate(world, tmp_path / "two"):
        second = allowed(conversation, "t1", new=False)
        await world.ask(second)
        ended = await world.completed(second.turn)
    assert (ended.n, ended.parent) == (state.next_n, first.turn)
    newest = await _newest(world, conversation, partition)
    assert newest is not None
    assert read_stamp(newest).generation > read_stamp(old).generation


async def test_two_gates_share_the_work(world: World, tmp_path: Path) -> None:
    """A second gate takes over half of the partitions; when it is killed the first takes them back; no turn is lost."""
    async with gate(world, tmp_path / "one") as first:
        asked = await _ask_three(world)
        async with gate_process(world, tmp_path / "two") as second:
            async with asyncio.timeout(60):
                while len(first.partitions) != 1:  # noqa: ASYNC110 - faust tells nobody
                    await asyncio.sleep(0.05)
            asked += await _ask_three(world)
            await _check(world, asked)
            asked += await _ask_three(world)
            second.kill()
            await second.wait()
        await _check(world, asked)
        async with asyncio.timeout(60):
            while len(first.partitions) != world.kafka.partitions:  # noqa: ASYNC110 - faust tells nobody
                await asyncio.sleep(0.05)
        asked += await _ask_three(world)
        await _check(world, asked)


async def test_a_frozen_gate_adds_nothing(world: World, tmp_path: Path) -> None:
    """A gate that is frozen past its session and thawed beside its successor changes no turn's end."""
    async with gate_process(world, tmp_path / "one") as frozen:
        asked = await _ask_three(world)
        await world.completed(asked[0].turn, within_s=60)
        os.kill(frozen.pid, signal.SIGSTOP)
        asked += await _ask_three(world)
        async with gate(world, tmp_path / "two"):
            await _check(world, asked)
            os.kill(frozen.pid, signal.SIGCONT)
            asked += await _ask_three(world)
            await _check(world, asked)


@pytest.mark.parametrize("step", ["changelog", "logs", "effects"])
async def test_a_bug_ends_the_process_before_the_ack(world: World, tmp_path: Path, step: str) -> None:
    """What raises inside the gate's work is never acknowledged: `watch` raises, and the next life does it again."""
    left = 3

    def raising(reached: str) -> None:
        nonlocal left
        left -= reached == step
        if left <= 0:
            raise RuntimeError("a bug")

    broken = gate(world, tmp_path, on_step=raising)
    service = await broken.__aenter__()
    asked = await _ask_three(world)
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(service.watch(), 30)
    await service.stop()
    async with gate(world, tmp_path):
        await _check(world, asked)


async def _newest(world: World, conversation: str, partition: int | None = None) -> bytes | None:
    reader = LogReader(world.kafka, "test")
    try:
        found: bytes | None = None
        for number in range(world.kafka.partitions) if partition is None else (partition,):
            async for entry in reader.read(topics.GATE_CHANGELOG, number, 0):
                if entry.key == conversation.encode():
                    found = entry.value
        return found
    finally:
        await reader.stop()
