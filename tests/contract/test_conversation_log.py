"""What every reader of a conversation log may rely on, alike in an own topic, a lane, and a lane of unstored calls."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from infra.runtime.kafka_log import LogReader
from schemas import codec
from schemas.fold import ConversationFold, TurnFold
from schemas.records import Record, TurnDelta
from tests.delivery.scene import TOKEN, Client, Scene, Talk, fresh_turn, open_scene, stripped
from tests.delivery.tables import migrated
from tests.support.brokers import LoopThread

OWN, LANE, UNSTORED = "own topic", "lane", "unstored lane"


@pytest.fixture(scope="module")
def tables(cassandra: tuple[str, int], broker_loop: LoopThread) -> Iterator[str]:
    """A migrated keyspace."""
    with migrated(cassandra, broker_loop) as keyspace:
        yield keyspace


@pytest.fixture
async def scene(kafka: str, cassandra: tuple[str, int], topic_prefix: str, tables: str) -> AsyncIterator[Scene]:
    """Topics, tables, an appender and a key."""
    async with open_scene(kafka, cassandra, topic_prefix, tables) as opened:
        yield opened


@pytest.fixture(params=[OWN, LANE, UNSTORED])
async def talk(scene: Scene, request: pytest.FixtureRequest) -> Talk:
    """A conversation whose log has the address in question, with a neighbour that speaks in the same lane."""
    kind = request.param
    made = await scene.talk(in_lane=kind == LANE, is_stored=kind != UNSTORED)
    if kind != OWN:
        neighbour = Talk(scene, (await scene.talk(in_lane=True)).conversation, made.log)
        await neighbour.turn(deltas=7, text="a neighbour")
    return made


async def reader(scene: Scene, talk: Talk, **more: Any) -> tuple[Client, dict[str, Any]]:
    """A reader of the whole log, as a gateway is: it may name any log."""
    client = await scene.client(await scene.node(), token=TOKEN)
    log = {"topic": talk.log.topic, "partition": talk.log.partition}
    return client, await client.subscribe(talk.conversation, log=log, **more)


async def contested(talk: Talk) -> list[Record]:
    """A turn with a takeover, repeats, a gap and what a zombie says after the end; returns all that was appended."""
    turn, other = fresh_turn(talk.conversation), fresh_turn(talk.conversation)
    accepted, waiting = talk.accepted(turn, "first"), talk.accepted(other, "second")
    records: list[Record] = [
        accepted,
        accepted,  # the gate's successor says it again
        talk.delta(turn, 0),  # before any claim: nobody's
        talk.started(turn, 1),
        talk.delta(turn, 0),
        talk.delta(turn, 0),  # a resend
        talk.delta(turn, 2),  # a gap
        waiting,
        talk.delta(turn, 1),
        talk.started(turn, 2),
        talk.delta(turn, 2, "of the one who was displaced", attempt=1),
        talk.delta(turn, 2, attempt=2),
        talk.ended(accepted, 2, attempt=1),
        talk.ended(accepted, 3, attempt=2),
        talk.delta(turn, 3, "after the end", attempt=2),
        talk.started(turn, 3),
        talk.started(other, 1),
        talk.delta(other, 0, "second"),
        talk.ended(waiting, 1),
    ]
    await talk.append_all(records)
    return records


async def test_all_readers_take_the_same(scene: Scene, talk: Talk) -> None:
    """Whoever reads, from the log or by the socket, before or after: the records that the rule takes, in order."""
    client, answer = await reader(scene, talk)
    assert answer["type"] == "subscribed"
    records = await contested(talk)
    fold = ConversationFold()
    expected = [stripped(record) for record in records if fold.take(record)]
    ends = iter(range(2))
    live = await client.events(lambda event: event["type"] == "turn.ended" and next(ends) == 1)
    assert [frame["event"] for frame in live] == expected
    again, resumed = await reader(scene, talk, after=answer["position"])
    assert resumed["recovered"]
    assert [await again.hear() for _ in expected] == live
    log_reader = LogReader(scene.kafka, "test")
    held = await log_reader.read_all(talk.log.topic, talk.log.partition, 0)
    await log_reader.stop()
    own, from_log = ConversationFold(), []
    for entry in held:
        if entry.key == talk.conversation.encode() and entry.value is not None:
            record = codec.decode(entry.value)
            if own.take(record):
                from_log.append(stripped(record))
    assert from_log == expected


async def test_a_cut_at_every_record_is_healed(scene: Scene, talk: Talk) -> None:
    """Behind any position the rest follows exactly once, in order, on a node that has never seen the conversation."""
    client, answer = await reader(scene, talk)
    turn = fresh_turn(talk.conversation)
    accepted = talk.accepted(turn)
    await talk.append_all(
        [accepted, talk.started(turn), *(talk.delta(turn, seq) for seq in range(40)), talk.ended(accepted, 40)]
    )
    frames = await client.events_until_ended()
    log = {"topic": talk.log.topic, "partition": talk.log.partition}
    other = await scene.client(await scene.node(), token=TOKEN)
    for cut, position in enumerate([answer["position"], *(frame["position"] for frame in frames[:-1])]):
        resumed = await other.subscribe(talk.conversation, position, log=log)
        assert resumed["recovered"]
        assert await other.events_until_ended() == frames[cut:]
        await other.say(type="unsubscribe", conversation=talk.conversation, ref=resumed["ref"])
        assert (await other.hear())["type"] == "unsubscribed"


async def test_a_turns_reader_sees_its_turn_whole(scene: Scene, talk: Talk) -> None:
    """A reader of one turn that comes before, during or after it folds the same answer as its worker."""
    records = await contested(talk)
    turn = records[0].turn
    assert turn is not None
    fold = TurnFold(turn)
    for offset, record in enumerate(records[2:]):
        fold.take(record, offset)
    client, answer = await reader(scene, talk, turn=turn)
    assert answer["type"] == "subscribed"
    frames = await client.events_until_ended()
    assert {frame["event"]["turn"] for frame in frames} == {turn}
    deltas = [frame["event"] for frame in frames if frame["event"]["type"] == "turn.delta"]
    assert "".join(delta["text"] for delta in deltas) == fold.text
    assert [delta["seq"] for delta in deltas] == list(range(len(deltas)))


async def test_many_writers_keep_their_own_order(scene: Scene, talk: Talk) -> None:
    """Two conversations that speak at once in one log are read apart, each in the order of its writer."""
    other = Talk(scene, (await scene.talk(in_lane=True)).conversation, talk.log)
    readers = [await reader(scene, each) for each in (talk, other)]
    await asyncio.gather(talk.turn(deltas=30), other.turn(deltas=30))
    for each, (client, _) in zip((talk, other), readers, strict=True):
        frames = await client.events_until_ended()
        assert {frame["conversation"] for frame in frames} == {each.conversation}
        deltas = [codec.convert(frame["event"], TurnDelta) for frame in frames[2:-1]]
        assert [delta.seq for delta in deltas] == list(range(30))
