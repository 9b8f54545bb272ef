"""A gate on real Kafka retires own topics: what is left of them, what comes meanwhile, and what a crash leaves."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from infra.runtime.kafka_log import LogReader
from schemas import codec, fold, topics
from schemas.ids import ConversationId
from schemas.records import (
    ConversationChanged,
    ConversationDeleted,
    MovedLogged,
    TurnAccepted,
    TurnAllowed,
    TurnCompleted,
    TurnDispatched,
)
from stream_processors.enrichment.service import EnrichmentService
from tests.stream_processors.enrichment.world import POOL, World, allowed, gate, new_conversation, now
from tests.support.waiting import until

# Seconds where a deployment has minutes.
SOON: Any = {"retire_after_s": 2.0, "linger_s": 2.0}


async def born(world: World, *, created_at: str | None = None) -> ConversationId:
    """A conversation with its own topic, as a gateway makes it."""
    conversation = new_conversation()
    await world.admin.create([topics.own_topic(conversation)])
    await world.appender.append(
        topics.CONVERSATIONS,
        ConversationChanged(
            id="born", at=now(), tenant="acme", conversation=conversation, user="u1", created_at=created_at or now(),
            metadata={"kept": "yes"},
        ),
    )  # fmt: skip
    return conversation


def asked(conversation: ConversationId, text: str, *, new: bool = True) -> TurnAllowed:
    """A turn that comes with the address of the own topic, as from a gateway that hasn't heard."""
    made = allowed(conversation, text, new=new)
    own = topics.address(conversation, retired=False, stored=True, lanes=2)
    return replace(made, request=replace(made.request, log=own))


async def persisted(world: World) -> None:
    """Persistence has read everything that there will be."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=world.kafka.bootstrap, group_id=world.kafka.named("parley-persistence"),
        enable_auto_commit=False,
    )  # fmt: skip
    await consumer.start()
    places = [
        TopicPartition(world.kafka.named(topic), partition)
        for topic in (topics.TURNS, topics.CONVERSATIONS)
        for partition in range(world.kafka.partitions)
    ]
    consumer.assign(places)
    await consumer.commit(dict.fromkeys(places, OffsetAndMetadata(1_000, "")))
    await consumer.stop()


async def is_gone(world: World, conversation: ConversationId) -> bool:
    return topics.own_topic(conversation).name not in await world.admin.names()


async def retired(world: World, conversation: ConversationId) -> None:
    """Its topic is deleted, and the directory's last record says so and all else."""

    async def gone() -> bool:
        return await is_gone(world, conversation)

    await until(gone, limit_s=30)
    changes = world.seen[topics.CONVERSATIONS].of(ConversationChanged, conversation)
    assert (changes[-1].retired, changes[-1].metadata) == (True, {"kept": "yes"})


async def own_log(world: World, conversation: ConversationId) -> list[Any]:
    reader = LogReader(world.kafka, "test")
    entries = await reader.read_all(topics.own_topic(conversation).name, 0, 0)
    await reader.stop()
    return [codec.decode(entry.value) for entry in entries if entry.value is not None]


async def test_an_idle_conversation_goes_on_in_its_lane(world: World, tmp_path: Path) -> None:
    """Answered, idle, stored: the topic is closed and deleted; the next turn has its context and is answered once."""
    await persisted(world)
    async with gate(world, tmp_path, retire_after_s=2.0, linger_s=4.0):
        conversation = await born(world)
        first = asked(conversation, "t0")
        await world.ask(first)
        ended = await world.completed(first.turn)
        assert ended.log.topic == topics.own_topic(conversation).name

        async def is_closed() -> bool:
            return isinstance((await own_log(world, conversation))[-1], MovedLogged)

        await until(is_closed, limit_s=20)
        moved = (await own_log(world, conversation))[-1]
        assert moved.order == fold.CLOSED_ORDER
        between = asked(conversation, "t1", new=False)
        await world.ask(between)
        assert (await world.completed(between.turn)).log.topic == topics.LANES
        await retired(world, conversation)
        after = asked(conversation, "t2", new=False)
        await world.ask(after)
        answered = await world.completed(after.turn)
        assert (answered.log.topic, answered.n, answered.parent) == (topics.LANES, 3, between.turn)
        [sent] = world.seen[f"inference.{POOL}"].of(TurnDispatched, after.turn)
        assert [message.text for message in sent.messages][1:] == ["t0", "re: t0", "t1", "re: t1", "t2"]
        assert await is_gone(world, conversation)  # a stale address makes no topic anew


async def test_a_deleted_conversation_loses_its_topic(world: World, tmp_path: Path) -> None:
    """Some time after its readers were told nothing of the own topic is left."""
    await persisted(world)
    async with gate(world, tmp_path, **SOON):
        conversation = await born(world)
        first = asked(conversation, "t0")
        await world.ask(first)
        await world.completed(first.turn)
        await world.ask(
            ConversationDeleted(
                id="d", at=now(), tenant="acme", conversation=conversation, user="u1", log=first.request.log
            )
        )

        async def gone() -> bool:
            return await is_gone(world, conversation)

        await until(gone, limit_s=30)
        assert not world.seen[topics.LANES].of(MovedLogged, conversation)


async def test_whom_nobody_spoke_to_is_retired(world: World, tmp_path: Path) -> None:
    """A conversation that was made long ago without a turn is known to the directory alone, and holds no topic."""
    await persisted(world)
    conversation = await born(world, created_at="2026-01-01T00:00:00.000Z")
    async with gate(world, tmp_path, **SOON) as service, store_of_nothing(world, service):
        await retired(world, conversation)


@asynccontextmanager
async def store_of_nothing(world: World, service: EnrichmentService) -> AsyncIterator[None]:
    """The store has never heard of anything."""

    class Nothing:
        async def conversation(self, _conversation: ConversationId) -> None:
            return None

        async def newest(self, *_: object, **__: object) -> tuple[TurnCompleted, ...]:
            return ()

    assert service._loader is not None
    service._loader._past = Nothing()  # type: ignore[assignment]
    yield


@pytest.mark.parametrize("step", ["changelog", "closed", "deleted"])
async def test_a_crash_leaves_no_topic_behind(world: World, tmp_path: Path, step: str) -> None:
    """A gate that dies between state, announcement, close and deletion is healed by the next one's ticks."""
    await persisted(world)
    armed: list[str] = []

    def on_step(reached: str) -> None:
        if armed and reached == step:
            armed.clear()
            raise RuntimeError("dies here, as asked")

    conversation = await born(world)
    first = asked(conversation, "t0")
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(_dying(world, tmp_path / "first", on_step))
        await world.ask(first)
        await world.completed(first.turn)
        armed.append(step)
        with pytest.raises(RuntimeError):
            await service.watch()
    async with gate(world, tmp_path / "second", **SOON):
        await retired(world, conversation)
        after = asked(conversation, "t1", new=False)
        await world.ask(after)
        assert (await world.completed(after.turn)).log.topic == topics.LANES
    accepted = world.seen[topics.LANES].of(TurnAccepted, after.turn)
    assert len(accepted) == 1


@asynccontextmanager
async def _dying(world: World, directory: Path, on_step: Callable[[str], None]) -> AsyncIterator[EnrichmentService]:
    """A gate that isn't asked to leave: what it had not done is not done."""
    running = gate(world, directory, on_step=on_step, **SOON)
    service = await running.__aenter__()
    try:
        yield service
    finally:
        await service.stop()
