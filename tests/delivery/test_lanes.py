"""A busy lane costs a reader its own records: counted on real Kafka, right after a node's start as well as later."""

import asyncio
from collections.abc import AsyncIterator

from delivery.hub.lane_index import IndexBounds
from delivery.lanes import Lanes, Remembered
from infra.runtime.kafka_log import RangeGone
from schemas import topics
from schemas.errors import KafkaUnavailable
from schemas.turns import LogAddress
from tests.delivery.protocol.readings import Entry
from tests.delivery.scene import Scene, Talk, fresh_turn, stripped
from tests.support.waiting import until

LANE = LogAddress(topics.LANES, 0)
OTHERS = 3000
NONE_HELD = {"lane_recent_bytes": 0}


async def beside(scene: Scene, talk: Talk) -> Talk:
    """Another conversation in the same lane."""
    while True:
        other = await scene.talk(in_lane=True, is_announced=False)
        if other.log == talk.log:
            return other


async def noise(other: Talk, count: int) -> None:
    """So many records of somebody else."""
    turn = fresh_turn(other.conversation)
    await other.append_all([other.delta(turn, seq) for seq in range(count)])


async def test_a_resume_in_a_busy_lane_reads_little(scene: Scene, fetched: list[int]) -> None:
    """Between a position and now stand thousands of others' records, and none but a few of them are read."""
    talk = await scene.talk(in_lane=True)
    other = await beside(scene, talk)
    holding, indexed = await scene.node(), await scene.node(**NONE_HELD)
    reader = await scene.client(indexed)
    await reader.subscribe(talk.conversation)
    await talk.turn(deltas=5)
    position = (await reader.events_until_ended())[-1]["position"]
    await noise(other, OTHERS)
    turn = fresh_turn(talk.conversation)
    accepted = talk.accepted(turn, "again")
    records = [accepted, talk.started(turn), *(talk.delta(turn, seq) for seq in range(5)), talk.ended(accepted, 5)]
    await talk.append_all(records)
    await reader.events_until_ended()
    await noise(other, OTHERS)
    restarted = await scene.node(**NONE_HELD)
    await restarted._lanes.are_known()
    for node, most in ((holding, 0), (indexed, OTHERS // 10), (restarted, OTHERS // 10)):
        fetched.clear()
        client = await scene.client(node)
        answer = await client.subscribe(talk.conversation, position)
        assert answer["recovered"]
        assert [frame["event"] for frame in await client.events_until_ended()] == [stripped(each) for each in records]
        assert sum(fetched) <= most, (sum(fetched), most)


async def test_a_position_before_the_index_gets_the_history(scene: Scene, fetched: list[int]) -> None:
    """What the index doesn't reach is replayed where it is short, and else answered by the history."""
    talk = await scene.talk(in_lane=True)
    other = await beside(scene, talk)
    first = await scene.node()
    reader = await scene.client(first)
    position = (await reader.subscribe(talk.conversation))["position"]
    await talk.stored_turn(deltas=5)
    await noise(other, OTHERS)
    for max_replay, is_recovered in ((OTHERS // 2, False), (OTHERS * 2, True)):
        node = await scene.node(lane_rebuild_records=100, max_replay=max_replay, **NONE_HELD)
        await node._lanes.are_known()
        fetched.clear()
        client = await scene.client(node)
        answer = await client.subscribe(talk.conversation, position)
        assert answer["recovered"] == is_recovered
        if not is_recovered:
            assert [each["text"] for each in answer["history"]["messages"]] == ["hello", "w0 w1 w2 w3 w4 "]
        else:
            assert (await client.events_until_ended())[-1]["event"]["type"] == "turn.ended"
            assert sum(fetched) >= OTHERS


class Troubled:
    """Lanes of one conversation; the reads of the first fail in the ways that are listed, and then work."""

    def __init__(self, troubles: list[Exception]) -> None:
        self.troubles = troubles
        self.kept_from = 0

    async def read(self, topic: str, partition: int, start: int, stop: int | None = None) -> AsyncIterator[Entry]:
        """Every record is the same conversation's."""
        assert stop is not None
        for offset in range(start, stop):
            if self.troubles and partition == 0 and offset == start + 3:
                trouble = self.troubles.pop()
                self.kept_from = offset if isinstance(trouble, RangeGone) else self.kept_from
                raise trouble
            yield Entry(offset, b"conv_a", b"")

    async def beginning(self, topic: str, partition: int) -> int:
        """Where retention has got to."""
        return self.kept_from

    async def end(self, topic: str, partition: int) -> int:
        """Of the lane."""
        return 2000

    async def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        """Everything is young."""
        return 0


async def test_what_fails_while_a_lane_is_read_back_is_tried_again() -> None:
    """An outage, and retention that overtakes the reading, cost time, not the index; another log is left alone."""
    bounds = IndexBounds(window_s=60.0, entries=100, recent_bytes=0)
    lanes = Lanes(
        Troubled([RangeGone("gone"), KafkaUnavailable("away")]), Remembered(bounds=bounds, rebuild_records=1990),
        wall_ms=lambda: 10**6,
    )  # fmt: skip
    index, stranger = lanes.begin(LANE, 2000), lanes.begin(LANE, 3000)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(lanes.read_back())
        async with asyncio.timeout(20):
            await lanes.are_known()
        reading.cancel()
    assert index.since == 13
    assert stranger.since == 3000


async def test_a_lane_that_is_away_stops_no_other() -> None:
    """While one lane can't be read the lanes behind it are read back, and itself when it can be read again."""
    bounds = IndexBounds(window_s=60.0, entries=100, recent_bytes=0)
    troubled = Troubled([KafkaUnavailable("away")])
    lanes = Lanes(troubled, Remembered(bounds=bounds, rebuild_records=1990), wall_ms=lambda: 10**6)
    away = lanes.begin(LANE, 2000)
    others = [lanes.begin(LogAddress(topics.LANES, number), 2000) for number in (1, 2)]

    async def others_are_known() -> bool:
        return all(each.since == 10 for each in others)

    async with asyncio.TaskGroup() as group:
        reading = group.create_task(lanes.read_back())
        troubled.troubles *= 1000
        await until(others_are_known)
        assert away.since == 2000
        troubled.troubles.clear()
        async with asyncio.timeout(20):
            await lanes.are_known()
        reading.cancel()
    assert away.since == 10
