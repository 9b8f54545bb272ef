"""A node's life as a process: ready, measured, degraded, drained."""

import asyncio
import json

from tests.delivery.process import node_process
from tests.delivery.scene import LIMIT_S, Scene
from tests.support.pipeline import free_ports
from tests.support.waiting import until


async def test_a_node_serves_is_measured_and_drains(scene: Scene) -> None:
    """On uvloop as on asyncio: it streams, tells connections and lag, and at SIGTERM sends clients away."""
    async with node_process(scene, DELIVERY_DRAIN_SPREAD_S=0.1) as node:
        client = await scene.client(node)
        talk = await scene.talk()
        await client.subscribe(talk.conversation)
        await talk.turn(deltas=5)
        assert len(await client.events_until_ended()) == 8
        _, metrics = await node.get("/metrics")
        assert "parley_stream_connections 1.0" in metrics
        assert 'parley_stream_lag_seconds_bucket{le="+Inf"}' in metrics
        assert (await node.get("/healthz"))[0] == 200
        node.end()
        code, reason = await client.closed()
        assert (code, reason[:9]) == (4000, "retry_ms=")
        async with asyncio.timeout(LIMIT_S):
            assert await node.process.wait() == 0


async def test_a_store_that_is_away_degrades(scene: Scene) -> None:
    """Without Cassandra a node is ready and says what is missing; a history is what the log holds."""
    [nobody] = free_ports(1)
    async with node_process(scene, CASSANDRA_PORT=nobody) as node:
        status, body = await node.get("/readyz")
        assert status == 200
        assert "cassandra" in json.loads(body)["degraded"][0]
        talk = await scene.talk()
        await talk.stored_turn()
        client = await scene.client(node)
        answer = await client.subscribe(talk.conversation)
        assert [each["text"] for each in answer["history"]["messages"]] == ["hello", "w0 w1 w2 "]


async def test_without_kafka_clients_are_told_to_come_back(scene: Scene) -> None:
    """A node that has not met Kafka yet listens, isn't ready, and closes its clients with 4000."""
    [nobody] = free_ports(1)
    async with node_process(scene, is_ready=False, KAFKA_BOOTSTRAP=f"127.0.0.1:{nobody}") as node:

        async def listens() -> bool:
            return (await node.get("/readyz"))[0] == 503 and (await node.get("/healthz"))[0] == 200

        await until(listens, limit_s=LIMIT_S)

        async def refuses() -> bool:
            try:
                client = await scene.client(node)
            except ConnectionRefusedError:
                return False
            return (await client.closed())[0] == 4000

        assert await until(refuses, limit_s=LIMIT_S)
