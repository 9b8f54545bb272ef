"""Both clients against a real node, through whatever ends a connection: the text is exact, and no event comes twice."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import pytest

from delivery.node import Node
from delivery.protocol.closing import Cause
from delivery.streams import Streams
from schemas import identity
from schemas.errors import KafkaUnavailable
from schemas.records import MovedLogged, Record
from tests.delivery.client.readers import CLIENTS, LIMIT_S, SNAPSHOT, Reader, Ticket, heard_until, opened
from tests.delivery.scene import TENANT, USER, Scene, Talk, at, fresh_turn, stripped
from tests.support.cuttable import CuttableLine, cuttable
from tests.support.waiting import until

# A node looks once a second whether it has been silent for too long; these clients bear somewhat more.
ALIVE_S, SILENCE_S = 0.2, 2.5
ALIVES = 4  # more than SILENCE_S of them


@dataclass
class Stage:
    """A client that reads from a node over a line that can be cut."""

    scene: Scene
    node: Node
    line: CuttableLine
    reader: Reader
    tickets: list[str]


@pytest.fixture(params=CLIENTS)
async def stage(scene: Scene, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each of the two clients, with a fresh ticket for each connection."""
    await scene.make_key(key_id="k")
    node = await scene.node(alive_s=ALIVE_S)
    tickets: list[str] = []
    async with cuttable(node.port) as line:
        url = f"ws://127.0.0.1:{line.port}/v1/stream"

        async def ticket() -> Ticket:
            scopes = (identity.READ, identity.WRITE)
            principal = identity.Principal(tenant=TENANT, key_id="k", tier="standard", scopes=scopes, user=USER)
            tickets.append(scene.ticket(principal))
            return {"ticket": tickets[-1], "url": url}

        async with opened(request.param, ticket, url, SILENCE_S) as reader:
            yield Stage(scene, node, line, reader, tickets)


def is_end(event: dict[str, Any]) -> bool:
    """True for the end of a turn."""
    return bool(event["type"] == "turn.ended")


async def holds(fact: bool) -> bool:
    """What `until` asks of a fact that is at hand."""
    return fact


async def begun(stage: Stage, talk: Talk) -> None:
    """The reader is subscribed."""
    await stage.reader.read(talk.conversation)
    await heard_until(stage.reader, lambda heard: heard == SNAPSHOT)


async def says(talk: Talk, deltas: int) -> list[dict[str, Any]]:
    """A whole turn is written; what a reader is to hear of it."""
    turn = fresh_turn(talk.conversation)
    accepted = talk.accepted(turn)
    records: list[Record] = [accepted, talk.started(turn), *(talk.delta(turn, seq) for seq in range(deltas))]
    records.append(talk.ended(accepted, deltas))
    await talk.append_all(records)
    return [stripped(each) for each in records]


def answer(events: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The turn's text in these events."""
    return {events[0]["turn"]: "".join(event["text"] for event in events if event["type"] == "turn.delta")}


async def test_cut_after_any_number_of_bytes(stage: Stage) -> None:
    """Cut again and again, in the handshake, between frames and within them, it hears every event once, in order."""
    talk = await stage.scene.talk()
    await begun(stage, talk)
    # Those within the handshake and the answer to the subscribe stand between others, or waits would grow long.
    early, later = [1, 60, 190, 240, 300, 400, 500, 600], range(700, 4000, 220)
    budgets = [each for pair in zip_longest(later, early) for each in pair if each is not None]
    stage.line.budgets_bytes.extend(budgets)
    stage.line.cut()
    expected = await says(talk, 80)
    assert await heard_until(stage.reader, is_end) == [SNAPSHOT, *expected]
    assert await stage.reader.shown() == answer(expected)
    made = stage.line.connections
    assert made > 10, f"only {made} connections for {len(budgets)} cuts"
    assert len(set(stage.tickets)) == len(stage.tickets) == made


async def test_cut_between_live_events(stage: Stage) -> None:
    """Cut while an answer is being written, at each of its pieces, nothing is lost and nothing is told twice."""
    talk = await stage.scene.talk()
    await begun(stage, talk)
    turn = fresh_turn(talk.conversation)
    accepted = talk.accepted(turn)
    records: list[Record] = [accepted, talk.started(turn), *(talk.delta(turn, seq) for seq in range(12))]
    records.append(talk.ended(accepted, 12))
    for record in records:
        await talk.append(record)
        stage.line.cut()
    expected = [stripped(each) for each in records]
    assert await heard_until(stage.reader, is_end) == [SNAPSHOT, *expected]
    assert await stage.reader.shown() == answer(expected)


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (Cause.TOO_SLOW, ""), (Cause.DRAINING, "retry_ms=50"), (Cause.LOG_LOST, ""), (Cause.TOO_MANY, "retry_ms=20"),
        (Cause.EXPIRED, ""),
    ],
)  # fmt: skip
async def test_it_comes_back_when_the_code_says_so(stage: Stage, cause: Cause, reason: str) -> None:
    """Closed with a code from 4000 to 4499 in mid-answer, it goes on behind its position, with a ticket of its own."""
    talk = await stage.scene.talk()
    await begun(stage, talk)
    turn = fresh_turn(talk.conversation)
    accepted = talk.accepted(turn)
    first = [accepted, talk.started(turn), talk.delta(turn, 0)]
    await talk.append_all(first)
    await heard_until(stage.reader, lambda heard: heard.get("seq") == 0)
    for connection in list(stage.node._server._connections):
        connection.end(cause, reason)
    later: list[Record] = [talk.delta(turn, 1), talk.ended(accepted, 2)]
    await talk.append_all(later)
    expected = [stripped(each) for each in (*first, *later)]
    assert await heard_until(stage.reader, is_end) == [SNAPSHOT, *expected]
    assert len(set(stage.tickets)) == 2


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (Cause.BAD_FRAME, "invalid_request"),
        (Cause.UNAUTHENTICATED, "unauthenticated"),
        (Cause.FORBIDDEN, "forbidden"),
    ],
)
async def test_it_stays_away_when_the_code_says_so(stage: Stage, cause: Cause, told: str) -> None:
    """Closed with a code from 4500 on, it says why, fails what waits and comes back no more."""
    talk = await stage.scene.talk()
    await begun(stage, talk)
    for connection in list(stage.node._server._connections):
        connection.end(cause, "because")
    assert await until(stage.reader.refusal, limit_s=LIMIT_S) == told
    assert (await stage.reader.send("hello"))["code"] == told
    assert stage.line.connections == 1


async def test_a_restarted_node(stage: Stage) -> None:
    """When its node drains and is gone, and another comes up a while later, it goes on there without a seam."""
    talk = await stage.scene.talk()
    await begun(stage, talk)
    first = await says(talk, 5)
    await heard_until(stage.reader, is_end)
    stage.line.target_port = 0
    await stage.node.drain()
    await stage.node.stop()
    second = await says(talk, 5)
    tried = stage.line.connections
    await until(lambda: holds(stage.line.connections > tried), limit_s=LIMIT_S)
    stage.line.target_port = (await stage.scene.node(alive_s=ALIVE_S)).port
    assert await heard_until(stage.reader, lambda heard: heard == second[-1]) == [SNAPSHOT, *first, *second]


async def test_a_silent_connection_is_given_up(stage: Stage) -> None:
    """A connection that stays open and says nothing is left; what the old one holds back is not told twice."""
    talk = await stage.scene.talk()
    await begun(stage, talk)
    stage.line.hold()
    expected = await says(talk, 5)
    assert await heard_until(stage.reader, is_end) == [SNAPSHOT, *expected]
    assert stage.line.connections > 1


async def test_a_quiet_node_is_not_given_up(stage: Stage) -> None:
    """While `alive` comes, a connection on which nothing happens is kept, for longer than silence is borne."""
    await begun(stage, await stage.scene.talk())
    before = stage.line.passed
    await until(lambda: holds(stage.line.passed >= before + ALIVES), limit_s=LIMIT_S)
    assert stage.line.connections == 1


async def test_a_moved_log_replaces_what_is_shown(stage: Stage) -> None:
    """Where the way behind the position is gone, the history stands for all that was shown before."""
    talk = await stage.scene.talk()
    row = await talk.stored_turn(text="before")
    await begun(stage, talk)
    await stage.scene.announce(talk.conversation, retired=True)
    await talk.append(MovedLogged(id="m", at=at(), conversation=talk.conversation, order=99))
    heard = await heard_until(stage.reader, lambda heard: heard == SNAPSHOT)
    await until(lambda: _heard_twice(stage.reader), limit_s=LIMIT_S)
    assert heard[0] == SNAPSHOT
    assert await stage.reader.shown() == {row.turn: "w0 w1 w2 "}


async def _heard_twice(reader: Reader) -> bool:
    return (await reader.heard()).count(SNAPSHOT) == 2


async def test_a_position_that_means_nothing_gets_the_history(stage: Stage) -> None:
    """A stored position that no longer holds begins with the conversation so far."""
    talk = await stage.scene.talk()
    row = await talk.stored_turn()
    await stage.reader.read(talk.conversation, "nonsense")
    assert await heard_until(stage.reader, lambda heard: heard == SNAPSHOT) == [SNAPSHOT]
    assert await stage.reader.shown() == {row.turn: "w0 w1 w2 "}


async def through_a_cut(
    stage: Stage, call: Coroutine[Any, Any, dict[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What came of a call whose answer a cut has swallowed, and all that the gateway was handed for it."""
    handed = stage.scene.gateway.handed
    handed.clear()
    stage.line.hold()
    calling = asyncio.create_task(call)
    await until(lambda: holds(len(handed) == 1), limit_s=LIMIT_S)
    stage.line.cut()
    return await asyncio.wait_for(calling, LIMIT_S), [body for _, body, _ in handed]


async def test_a_message_is_sent_once_through_a_cut(stage: Stage) -> None:
    """A message whose answer a cut has swallowed is said again under the same key, and so is the stop of a turn."""
    talk = await stage.scene.talk()
    turn = fresh_turn(talk.conversation)
    gateway = stage.scene.gateway
    gateway.answers["/internal/send"] = (200, {"type": "accepted", "conversation": talk.conversation, "turn": turn})
    gateway.answers["/internal/stop"] = (200, {"type": "stopping", "conversation": talk.conversation, "turn": turn})
    await begun(stage, talk)
    sent, twice = await through_a_cut(stage, stage.reader.send("hello"))
    assert (sent["type"], sent["turn"]) == ("accepted", turn)
    assert twice[0]["send"]["idempotency_key"]
    stopped, twice_stopped = await through_a_cut(stage, stage.reader.stop(turn=turn))
    assert (stopped["type"], stopped["turn"]) == ("stopping", turn)
    for first, second in (twice, twice_stopped):
        assert first == second


async def test_the_stop_of_a_conversation_is_said_once(stage: Stage) -> None:
    """Swallowed by a cut it fails and may be repeated by its caller: the next turn may be the active one by then."""
    talk = await stage.scene.talk()
    gateway = stage.scene.gateway
    gateway.answers["/internal/stop"] = (200, {"type": "stopping", "conversation": talk.conversation, "turn": None})
    await begun(stage, talk)
    outcome, handed = await through_a_cut(stage, stage.reader.stop(conversation=talk.conversation))
    assert outcome == {"type": "error", "code": "unavailable", "retriable": True}
    assert len(handed) == 1
    assert (await stage.reader.stop(conversation=talk.conversation))["type"] == "stopping"
    assert len(gateway.handed) == 2


async def test_a_conversation_that_is_no_more(stage: Stage) -> None:
    """Of a conversation that is deleted while it is read, the reader is told."""
    talk = await stage.scene.talk()
    await begun(stage, talk)
    await stage.scene.announce(talk.conversation, deleted=True)
    assert await until(stage.reader.refusal, limit_s=LIMIT_S) == "not_found"


async def test_what_can_not_be_read_now_is_asked_for_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscribe that is answered by an error that may pass is said again until the conversation is read."""
    talk = await stage.scene.talk()
    real, failures = Streams._locate, iter([KafkaUnavailable("away"), KafkaUnavailable("away")])

    async def located(self: Streams, *arguments: Any) -> Any:
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return await real(self, *arguments)

    monkeypatch.setattr(Streams, "_locate", located)
    await begun(stage, talk)
    assert next(failures, None) is None
    assert stage.line.connections == 1
