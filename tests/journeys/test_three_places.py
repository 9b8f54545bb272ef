"""One turn in three places: what was streamed, what is billed and what is stored agree."""

import asyncio
import json

import aiohttp
import pytest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import dict_factory

from schemas import codec, ids
from schemas.records import Record, TurnCompleted, TurnDelta, TurnEnded, UsageRecorded
from tests.support.analyst import read_whole
from tests.support.contract import words
from tests.support.pipeline import Pipeline
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(240)


async def streamed(pipeline: Pipeline, text: str) -> tuple[str, str]:
    """The turn's id and its answer, as a streaming HTTP client reads them."""
    body = {"model": "simulated", "input": text, "stream": True}
    answer, turn = [], ""
    headers = {"Authorization": f"Bearer {pipeline.key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{pipeline.base_url}/v1/responses", json=body) as got,
    ):
        assert got.status == 200, await got.text()
        async for line in got.content:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            turn = event.get("response", {}).get("id", turn)
            answer.append(event["delta"] if event["type"] == "response.output_text.delta" else "")
    return turn, "".join(answer)


async def consumed(pipeline: Pipeline, topic: str) -> list[Record]:
    """A topic's records from the beginning to its present end, as an analyst's consumer reads them."""
    entries = await read_whole(pipeline.kafka, [topic])
    return [codec.decode(entry.value) for entry in entries if entry.value]


async def stored(pipeline: Pipeline, turn: str) -> list[dict[str, object]]:
    """The turn's rows, once there is one: persistence follows the answer."""
    return await until(lambda: asyncio.to_thread(stored_rows, pipeline, turn))


async def test_stream_bill_and_row_agree(pipeline: Pipeline) -> None:
    """The streamed answer, the usage record read by Kafka's console consumer and Cassandra's row are of one turn."""
    turn, answer = await streamed(pipeline, "tokens: 12")
    assert answer == words(12)
    [row] = await stored(pipeline, turn)
    records = await consumed(pipeline, "chat.usage")
    usage = [record for record in records if isinstance(record, UsageRecorded) and record.turn == turn]
    assert {record.id for record in usage} == {f"{turn}.usage"}
    assert usage[0].delivered_tokens == usage[0].generated_tokens == 12
    assert (row["output_text"], row["delivered_tokens"], row["reason"]) == (answer, 12, "stop")


def stored_rows(pipeline: Pipeline, turn: str) -> list[dict[str, object]]:
    """The turn's rows, as CQL gives them to anybody."""
    host, port = pipeline.cassandra
    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([host]), row_factory=dict_factory)
    with Cluster([host], port=port, protocol_version=5, execution_profiles={EXEC_PROFILE_DEFAULT: profile}) as cluster:
        conversation = ids.conversation_of(ids.parse_turn(turn))
        rows = cluster.connect().execute("SELECT * FROM parley.turns WHERE conversation = %s", (conversation,))
        return [row for row in rows if row["turn"] == turn]


async def test_the_log_of_a_conversation_tells_the_whole_turn(pipeline: Pipeline) -> None:
    """The deltas in the conversation log are numbered without a gap, and the end counts them."""
    turn, answer = await streamed(pipeline, "tokens: 30")
    await stored(pipeline, turn)
    records = await consumed(pipeline, "chat.turns")
    [completed] = {
        record.id: record for record in records if isinstance(record, TurnCompleted) and record.turn == turn
    }.values()
    log = await consumed(pipeline, completed.log.topic)
    deltas = [record for record in log if isinstance(record, TurnDelta) and record.turn == turn]
    [end] = [record for record in log if isinstance(record, TurnEnded) and record.turn == turn]
    assert [delta.seq for delta in deltas] == list(range(end.seq))
    assert "".join(delta.text for delta in deltas) == answer == completed.output_text
