"""Any number of nodes behind a plain balancer: led to whichever, a client misses nothing when nodes go and come."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

from delivery.client import ParleyClient, Reading
from schemas.frames import Event
from tests.delivery.process import NodeProcess, node_process
from tests.delivery.scene import LIMIT_S, Scene, Talk, fresh_turn
from tests.support.balancer import Balancer, balanced

READERS = 24
PART = 20  # deltas between two blows


async def test_nodes_that_die_drain_and_come(scene: Scene) -> None:
    """One of two nodes is killed and the other one drained while answers are read: all read on at what is left."""
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node_process(scene, DELIVERY_DRAIN_SPREAD_S=1.0)) for _ in range(2)]
        balancer = await stack.enter_async_context(balanced(*(node.port for node in nodes)))
        stage = await Stage(scene, balancer).filled(stack)
        assert Counter(balancer.led) == {node.port: READERS // 2 for node in nodes}

        await stage.say()
        first, second = nodes
        first.process.kill()
        await stage.say()
        third = await stack.enter_async_context(node_process(scene))
        balancer.ports[:] = [third.port]
        second.end()
        await stage.say()
        await ended(second)
        await stage.say(is_last=True)

        assert balancer.led.count(third.port) >= READERS
        answer = "".join(f"w{seq} " for seq in range(4 * PART))
        for heard in stage.heard:
            kinds = [event["type"] for event in heard]
            assert kinds == ["turn.accepted", "turn.started", *["turn.delta"] * (4 * PART), "turn.ended"]
            assert "".join(event.get("text", "") for event in heard if event["type"] == "turn.delta") == answer


async def ended(node: NodeProcess) -> None:
    """Its drain and its exit."""
    async with asyncio.timeout(LIMIT_S):
        assert await node.process.wait() == 0


class Stage:
    """Four conversations, half of them in a lane, read by a client each reader; all answers get on together."""

    def __init__(self, scene: Scene, balancer: Balancer) -> None:
        self._scene = scene
        self._balancer = balancer
        self._said = 0
        self._talks: list[Talk] = []
        self._readings: list[Reading] = []
        self.heard: list[list[dict[str, Any]]] = []

    async def filled(self, stack: AsyncExitStack) -> "Stage":
        """Everybody reads."""
        self._talks = [await self._scene.talk(in_lane=number % 2 == 0) for number in range(4)]
        self._turns = [fresh_turn(talk.conversation) for talk in self._talks]
        for number in range(READERS):
            client = ParleyClient(f"ws://127.0.0.1:{self._balancer.port}/v1/stream", key=self._scene.key)
            await stack.enter_async_context(client)
            reading = client.read(self._talks[number % 4].conversation)
            async with asyncio.timeout(LIMIT_S):
                await anext(aiter(reading))  # what was before: nothing
            self._readings.append(reading)
            self.heard.append([])
        for talk, turn in zip(self._talks, self._turns, strict=True):
            await talk.append_all([talk.accepted(turn), talk.started(turn)])
        return self

    async def say(self, *, is_last: bool = False) -> None:
        """The next part of each answer; returns when everybody has it."""
        for talk, turn in zip(self._talks, self._turns, strict=True):
            seqs = range(self._said, self._said + PART)
            await talk.append_all([talk.delta(turn, seq) for seq in seqs])
            if is_last:
                await talk.append(talk.ended(talk.accepted(turn), seqs.stop))
        self._said += PART
        expected = 2 + self._said + is_last
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(self._hear(number, expected) for number in range(READERS)))

    async def _hear(self, number: int, expected: int) -> None:
        heard = self.heard[number]
        while len(heard) < expected:
            frame = await anext(aiter(self._readings[number]))
            assert isinstance(frame, Event), frame
            heard.append(dict(frame.event))
