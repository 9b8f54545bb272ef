"""A conversation that falls silent, through the whole pipeline: its topic goes, and who comes back misses nothing."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import WhiteListRoundRobinPolicy
from websockets.asyncio.client import connect

from delivery.client import ParleyClient
from schemas import codec, ids, topics
from schemas.frames import Subscribed
from schemas.ids import ConversationId
from schemas.records import ConversationChanged, TurnCompleted, TurnDispatched
from tests.support.analyst import read_whole, topics_of
from tests.support.pipeline import SETTINGS, Pipeline, start
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(400)

# Seconds where a deployment has minutes.
SOON = {"PARLEY_ENRICHMENT_RETIRE_AFTER_S": "6", "PARLEY_ENRICHMENT_LINGER_S": "4"}


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A pipeline that retires what is idle for seconds."""
    running = start(tmp_path_factory.mktemp("retiring") / "data", "--engine", "simulated", environ={**SETTINGS, **SOON})
    yield running
    running.parley("down")


async def posted(pipeline: Pipeline, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {pipeline.key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{pipeline.base_url}{path}", json=body) as got,
    ):
        assert got.status == 200, await got.text()
        answer: dict[str, Any] = await got.json()
        return answer


async def own_topic_is_there(pipeline: Pipeline, conversation: ConversationId) -> bool:
    return topics.own_topic(conversation).name in await topics_of(pipeline.kafka)


async def born(pipeline: Pipeline) -> ConversationId:
    """A conversation with a topic of its own: spares are being made while the first ones are born in lanes."""

    async def made() -> ConversationId | None:
        answer = await posted(pipeline, "/v1/conversations", {"metadata": {"kept": "yes"}})
        conversation = ids.parse_conversation(answer["id"])
        return conversation if await own_topic_is_there(pipeline, conversation) else None

    found = await until(made, limit_s=60)
    assert found is not None
    return found


async def asked(pipeline: Pipeline, conversation: ConversationId, text: str) -> str:
    """The turn's id, once it has its answer."""
    body = {"model": "simulated", "input": text, "conversation": conversation}
    answer = await asyncio.wait_for(posted(pipeline, "/v1/responses", body), 30)
    assert answer["status"] == "completed", answer
    return str(answer["id"])


async def of_turn(pipeline: Pipeline, topic: str, kind: type, turn: str) -> Any:
    entries = await read_whole(pipeline.kafka, [topic])
    records = [codec.decode(entry.value) for entry in entries if entry.value]
    return next(record for record in records if isinstance(record, kind) and record.turn == turn)


def stored_as_retired(pipeline: Pipeline, conversation: ConversationId) -> bool:
    host, port = pipeline.cassandra
    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([host]))
    with Cluster([host], port=port, protocol_version=5, execution_profiles={EXEC_PROFILE_DEFAULT: profile}) as cluster:
        rows = cluster.connect().execute(
            "SELECT retired FROM parley.conversations WHERE conversation = %s", (conversation,)
        )
        return bool(rows.one().retired)


async def subscribed(pipeline: Pipeline, conversation: ConversationId, after: str | None) -> dict[str, Any]:
    """The answer to a subscribe, by raw frames."""
    headers = {"Authorization": f"Bearer {pipeline.key}"}
    async with connect(pipeline.stream_url, additional_headers=headers) as socket:
        frame = {"type": "subscribe", "ref": 1, "conversation": conversation, "after": after}
        await socket.send(json.dumps(frame))
        answer: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 20))
        return answer


def said(history: dict[str, Any]) -> list[str]:
    return [message["text"] for message in history["messages"] if message["role"] == "user"]


async def test_an_idle_conversation_loses_its_topic_and_no_words(forgetful: Pipeline) -> None:
    """Answered, idle, retired; the next turn is answered in the lane with its context, for old readers and new ones."""
    conversation = await born(forgetful)
    first = await asked(forgetful, conversation, "tokens: 2")
    assert (await of_turn(forgetful, "chat.turns", TurnCompleted, first)).log.topic == topics.own_topic(
        conversation
    ).name
    position = (await subscribed(forgetful, conversation, None))["position"]
    async with ParleyClient(forgetful.stream_url, key=forgetful.key) as client:
        reading = client.read(conversation)
        histories: list[Subscribed] = []

        async def reads() -> None:
            async for frame in reading:
                if isinstance(frame, Subscribed):
                    histories.append(frame)

        stays = asyncio.create_task(reads())

        async def is_retired() -> bool:
            return not await own_topic_is_there(forgetful, conversation)

        await until(is_retired, limit_s=90, every_s=0.5)
        entries = await read_whole(forgetful.kafka, ["chat.conversations"])
        changes = [codec.decode(each.value) for each in entries if each.value and each.key == conversation.encode()]
        last = changes[-1]
        assert isinstance(last, ConversationChanged)
        assert (last.retired, last.metadata) == (True, {"kept": "yes"})
        assert await asyncio.to_thread(stored_as_retired, forgetful, conversation)

        second = await asked(forgetful, conversation, "echo: again")
        assert (await of_turn(forgetful, "chat.turns", TurnCompleted, second)).log.topic == topics.LANES
        sent = await of_turn(forgetful, "inference.default", TurnDispatched, second)
        assert [message.text for message in sent.messages] == ["tokens: 2", "w0 w1", "echo: again"]

        async def has_heard() -> bool:
            turn = reading.thread.turns.get(second)
            return turn is not None and turn.reason is not None

        await until(has_heard, limit_s=20)
        assert reading.thread.turns[second].answer == "again"
        assert len(histories) >= 2  # it was sent on, and its history stood for what was shown
        stays.cancel()
    answer = await subscribed(forgetful, conversation, position)
    assert (answer["recovered"], said(answer["history"])) == (False, ["tokens: 2", "echo: again"])
    assert not await own_topic_is_there(forgetful, conversation)
