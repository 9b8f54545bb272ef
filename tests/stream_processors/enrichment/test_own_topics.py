"""Own topics on real Kafka: announced so that nothing is lost, closed for their readers, deleted."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from schemas import codec, fold, ids, instants, topics
from schemas.ids import ConversationId
from schemas.records import ConversationChanged, MovedLogged
from stream_processors.enrichment.inputs import Owner
from stream_processors.enrichment.own_topics import KafkaOwnTopics
from tests.stream_processors.enrichment.world import World, new_conversation, now
from tests.support.waiting import until

MOVED = MovedLogged(id="m", at=now(), order=fold.CLOSED_ORDER)


@pytest.fixture
async def own_topics(world: World) -> AsyncIterator[KafkaOwnTopics]:
    made = KafkaOwnTopics(world.kafka, world.appender, world.admin, "test")
    await made.start()
    yield made
    await made.stop()


async def _born(world: World) -> ConversationChanged:
    record = ConversationChanged(
        id="born", at=now(), tenant="acme", conversation=new_conversation(), user="ann", created_at=now(),
        metadata={"v": "0"}, instructions="Be kind.", fingerprint="f",
    )  # fmt: skip
    await world.appender.append(topics.CONVERSATIONS, record)
    return record


def _name(record: ConversationChanged) -> ConversationId:
    return ids.parse_conversation(record.conversation or "")


async def test_the_directory_says_retired_and_all_else(world: World, own_topics: KafkaOwnTopics) -> None:
    """The announcement keeps user, metadata, instructions and fingerprint; saying it again writes nothing more."""
    born = await _born(world)
    partition = (await world.appender.append(topics.CONVERSATIONS, born)).partition
    told = await own_topics.announce_retired(partition, _name(born), is_deleted=False)
    again = await own_topics.announce_retired(partition, _name(born), is_deleted=False)
    assert again >= told
    seen = await world.until(topics.CONVERSATIONS, lambda seen: len(seen.of(ConversationChanged, _name(born))) == 3)
    [_, _, last] = seen.of(ConversationChanged, _name(born))
    assert last == replace(born, id=last.id, retired=True)
    assert own_topics.owner(_name(born)) is None
    assert own_topics.is_live


async def test_a_change_that_lands_in_between_is_said_again(world: World, own_topics: KafkaOwnTopics) -> None:
    """A gateway writes between our look and our record: compaction would keep ours, so ours says theirs as well."""
    born = await _born(world)
    append = world.appender.append
    theirs = replace(born, id="theirs", at=instants.from_ms(instants.to_ms(born.at) + 1), metadata={"v": "1"})

    async def raced(topic: str, record: ConversationChanged) -> object:
        world.appender.append = append  # type: ignore[method-assign]
        await append(topic, theirs)
        return await append(topic, record)

    world.appender.append = raced  # type: ignore[method-assign,assignment]
    await own_topics.announce_retired(0, _name(born), is_deleted=False)
    seen = await world.until(topics.CONVERSATIONS, lambda seen: len(seen.of(ConversationChanged, _name(born))) == 4)
    last = seen.of(ConversationChanged, _name(born))[-1]
    assert (last.retired, last.metadata) == (True, {"v": "1"})


async def test_an_own_topic_is_closed_and_deleted(world: World, own_topics: KafkaOwnTopics) -> None:
    """Its last record is `conversation.moved`; then it is gone, and both may be repeated without a topic."""
    born = await _born(world)

    async def is_listed() -> bool:
        return own_topics.owner(_name(born)) is not None

    await until(is_listed)
    topic = topics.own_topic(_name(born))
    assert own_topics.owner(_name(born)) == Owner(
        tenant="acme", user="ann", log=topics.address(_name(born), retired=False, stored=True, lanes=2)
    )
    assert [listed.conversation for _, listed in own_topics] == [born.conversation]
    await world.admin.create([topic])
    moved = replace(MOVED, conversation=born.conversation)
    await own_topics.close(moved)
    placed = await world.appender.append(topic.name, moved)
    assert placed.offset == 1
    for _ in range(2):
        await own_topics.delete(_name(born))
    assert topic.name not in await world.admin.names()
    await own_topics.close(moved)
    assert topic.name not in await world.admin.names()
    assert codec.decode(codec.encode(moved)) == moved
