"""All clients of a run: each conversation sends its turns, is read over a WebSocket, stopped and cut as planned.

What every client was told is kept for the audit.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.chaos import readers, senders
from tests.chaos.plan import ConversationPlan, TurnPlan, Way
from tests.chaos.readers import Reader, Shown
from tests.chaos.senders import Accepted, Answer, Sender, Unexpected
from tests.support.contract import conversation_of
from tests.support.pipeline import Pipeline

# Longer than any outage of a run and any answer of its plan together.
_PATIENCE_S: Final = 300.0


@dataclass
class Told:
    """What clients were told of one accepted turn.

    Args:
        answer: of who sent it. shown: on the reader's screen; None: nobody subscribes to what isn't stored.
    """

    plan: TurnPlan
    tenant: str
    conversation: str
    turn: str
    answer: Answer
    shown: Shown | None


@dataclass
class Traffic:
    """The clients.

    Args:
        keys: by tenant.
        patience_s: seconds that a client waits for the end of what it asked for.
        reset, deleted: conversations for which that was asked and granted.
        hung: what was given up, in words: nothing came within the patience, or an answer behind which nothing comes.
    """

    pipeline: Pipeline
    keys: Mapping[str, str]
    seed: int
    patience_s: float = _PATIENCE_S
    told: list[Told] = field(default_factory=list)
    sent: Counter[Way] = field(default_factory=Counter)
    reset: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    hung: list[str] = field(default_factory=list)
    read: readers.Counts = field(default_factory=readers.Counts)
    posted: senders.Counts = field(default_factory=senders.Counts)

    async def run(self, conversations: tuple[ConversationPlan, ...], *, side_by_side: int) -> None:
        """Hold all conversations, so many at once; returns when each turn has ended for its clients or was given up."""
        places = asyncio.Semaphore(side_by_side)

        async def hold(plan: ConversationPlan) -> None:
            async with places:
                await self._hold(plan)

        async with asyncio.TaskGroup() as group:
            for plan in conversations:
                group.create_task(hold(plan))

    async def _hold(self, plan: ConversationPlan) -> None:
        chance = random.Random(f"{self.seed} conversation {plan.number}")
        sender = Sender(self.pipeline.base_url, self.keys[plan.tenant], self.posted, chance)
        try:
            await _Talk(self, plan, sender, chance).run()
        finally:
            await sender.close()


class _Talk:
    """One conversation under way."""

    def __init__(self, traffic: Traffic, plan: ConversationPlan, sender: Sender, chance: random.Random) -> None:
        self._traffic = traffic
        self._plan = plan
        self._sender = sender
        self._chance = chance
        self._conversation: str | None = None
        self._reader: Reader | None = None
        self._under_way: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        is_stored = self._plan.turns[0].way is not Way.UNSTORED
        try:
            if is_stored and self._plan.is_made_first:
                async with self._patiently(f"making conversation {self._plan.number}"):
                    await self._read(await self._sender.make_conversation())
            for number, turn in enumerate(self._plan.turns):
                if number == self._plan.reset_before and self._conversation is not None:
                    async with self._patiently(f"the reset of {self._conversation}"):
                        await self._sender.reset(self._conversation)
                        self._traffic.reset.add(self._conversation)
                task = asyncio.create_task(self._turn(turn))
                self._under_way.append(task)
                if turn.waits or (is_stored and self._conversation is None):
                    await asyncio.gather(*self._under_way)
                    self._under_way.clear()
            await asyncio.gather(*self._under_way)
            if self._plan.is_deleted and self._conversation is not None:
                if self._reader is not None:
                    await self._reader.stop()  # who came back later would be told, rightly, that there is no such thing
                async with self._patiently(f"the deletion of {self._conversation}"):
                    await self._sender.delete(self._conversation)
                    self._traffic.deleted.add(self._conversation)
        finally:
            for task in self._under_way:
                task.cancel()
            if self._reader is not None:
                await self._reader.stop()

    async def _read(self, conversation: str) -> Reader:
        self._conversation = conversation
        traffic = self._traffic
        reader = Reader(
            traffic.pipeline.stream_url, traffic.keys[self._plan.tenant], conversation, traffic.read, self._chance
        )
        self._reader = reader
        await reader.start()
        return reader

    @asynccontextmanager
    async def _patiently(self, what: str, accepted: Accepted | None = None) -> AsyncIterator[None]:
        """Give up what the block asks for when its end doesn't come: noted under the turn's id, once that is known."""
        try:
            async with asyncio.timeout(self._traffic.patience_s):
                yield
        except (TimeoutError, Unexpected):
            name = what if accepted is None or not accepted.turn else accepted.turn
            self._traffic.hung.append(f"{name}: its client never saw an end")

    async def _turn(self, turn: TurnPlan) -> None:
        accepted = Accepted()
        async with self._patiently(turn.key, accepted):
            await self._until_ended(turn, accepted)

    async def _until_ended(self, turn: TurnPlan, accepted: Accepted) -> None:
        if self._reader is not None:
            self._reader.expect(turn.key, accepted.told)
        meddling = asyncio.create_task(self._meddle(turn, accepted))
        try:
            answer = await self._send(turn, accepted)
            self._traffic.sent[turn.way] += 1
            await meddling
        finally:
            meddling.cancel()
        shown = None
        if turn.way is not Way.UNSTORED:
            if self._reader is None:
                await self._read(conversation_of(answer.turn))
            assert self._reader is not None
            shown = self._reader.of(answer.turn)
            await shown.ended.wait()
        conversation = self._conversation or conversation_of(answer.turn)
        self._traffic.told.append(Told(turn, self._plan.tenant, conversation, answer.turn, answer, shown))

    async def _send(self, turn: TurnPlan, accepted: Accepted) -> Answer:
        if turn.way is not Way.SOCKET or self._reader is None:
            # The first turn of a conversation that nobody has made goes over HTTP: there is no socket yet.
            return await self._sender.send(turn, self._conversation, accepted)
        frame = {"type": "send", "conversation": self._conversation, "text": turn.text, "idempotency_key": turn.key}
        told = await self._reader.ask(frame)
        if told["type"] != "accepted":
            self._traffic.posted.surprises.append(f"send: {told}")
            raise Unexpected(f"send: {told}")
        accepted.told(told["turn"])
        return Answer(told["turn"])

    async def _meddle(self, turn: TurnPlan, accepted: Accepted) -> None:
        """Stop the turn and cut its reader, as planned."""
        acts = sorted(
            (at_s, kind) for at_s, kind in ((turn.stop_after_s, "stop"), (turn.cut_after_s, "cut")) if at_s is not None
        )
        if not acts:
            return
        await accepted.wait()
        before_s = 0.0
        for at_s, kind in acts:
            await asyncio.sleep(at_s - before_s)
            before_s = at_s
            if kind == "cut" and self._reader is not None:
                self._reader.cut()
            elif kind == "stop" and self._reader is not None and self._chance.random() < 0.5:
                await self._reader.ask({"type": "stop", "turn": accepted.turn})
            elif kind == "stop":
                await self._sender.stop(accepted.turn)
