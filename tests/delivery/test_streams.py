"""The whole of delivery by its socket: history, replay and live from real logs and rows."""

from typing import Any

import pytest

from tests.delivery.cuts import text_of
from tests.delivery.scene import Scene, fresh_turn, stripped


@pytest.mark.parametrize("in_lane", [False, True])
async def test_history_then_live(scene: Scene, in_lane: bool) -> None:
    """A reader without a position gets rows, then what the log holds behind them, then live events, each once."""
    talk = await scene.talk(in_lane=in_lane)
    row = await talk.stored_turn(text="first")
    unsaved = await talk.turn(text="second")
    turn = fresh_turn(talk.conversation)
    accepted = talk.accepted(turn, "third")
    await talk.append_all([accepted, talk.started(turn), talk.delta(turn, 0)])
    node = await scene.node()
    client = await scene.client(node)
    answer = await client.subscribe(talk.conversation)
    assert answer["type"] == "subscribed", answer
    assert not answer["recovered"]
    messages = [(each["turn"], each["role"], each["text"]) for each in answer["history"]["messages"]]
    assert messages == [
        (row.turn, "user", "first"),
        (row.turn, "assistant", "w0 w1 w2 "),
        (unsaved.turn, "user", "second"),
        (unsaved.turn, "assistant", "w0 w1 w2 "),
    ]
    [opened] = answer["history"]["open_turns"]
    assert (opened["turn"], opened["text"], opened["answer"], opened["seq"]) == (turn, "third", "w0 ", 1)
    live = [talk.delta(turn, 1), talk.delta(turn, 2), talk.ended(accepted, 3)]
    await talk.append_all(live)
    frames = await client.events_until_ended()
    assert [frame["event"] for frame in frames] == [stripped(each) for each in live]


@pytest.mark.parametrize("in_lane", [False, True])
async def test_any_cut_is_healed_on_another_node(scene: Scene, in_lane: bool) -> None:
    """A reader cut behind any event goes on behind its position on a fresh node: nothing twice, nothing missing."""
    talk = await scene.talk(in_lane=in_lane)
    first, second = await scene.node(), await scene.node()
    reader = await scene.client(first)
    answer = await reader.subscribe(talk.conversation)
    positions = [answer["position"]]
    await talk.turn(deltas=20)
    frames = await reader.events_until_ended()
    positions += [frame["position"] for frame in frames]
    for cut, position in enumerate(positions[:-1]):
        other = await scene.client(second)
        resumed = await other.subscribe(talk.conversation, position)
        assert resumed["recovered"]
        assert resumed["position"] == position
        assert "history" not in resumed or resumed["history"] is None
        assert await other.events_until_ended() == frames[cut:]
        await other.socket.close()


async def test_places_ahead_of_the_tail(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a node whose tail is late, readers with different places ahead of it get what each of them missed, once."""
    talk = await scene.talk(in_lane=True)
    first, late = await scene.node(), await scene.node()
    reader = await scene.client(first)
    position = (await reader.subscribe(talk.conversation))["position"]
    hub = late._streams._hub
    held: list[tuple[Any, ...]] = []
    with monkeypatch.context() as patched:
        patched.setattr(hub, "take", lambda *batch: held.append(batch))
        await talk.turn(deltas=20)
        frames = await reader.events_until_ended()
        ahead, behind = await scene.client(late), await scene.client(late)
        assert (await ahead.subscribe(talk.conversation, frames[15]["position"]))["recovered"]
        assert (await behind.subscribe(talk.conversation, frames[5]["position"]))["recovered"]
        none = await scene.client(late)
        assert (await none.subscribe(talk.conversation, position))["recovered"]
    for batch in held:
        hub.take(*batch)
    late._streams.flush()
    assert await ahead.events_until_ended() == frames[16:]
    assert await behind.events_until_ended() == frames[6:]
    assert await none.events_until_ended() == frames


@pytest.mark.parametrize(("missed", "reads"), [(100, False), (400, True)])
async def test_a_little_that_was_missed_comes_with_the_tail(
    scene: Scene, fetched: list[int], missed: int, reads: bool
) -> None:
    """A node that meets a log through a position close to its end tails it from there and reads nothing besides."""
    talk = await scene.talk()
    first = await scene.client(await scene.node())
    position = (await first.subscribe(talk.conversation))["position"]
    await talk.turn(deltas=missed)
    frames = await first.events_until_ended()
    node = await scene.node()
    fetched.clear()
    second = await scene.client(node)
    assert (await second.subscribe(talk.conversation, position))["recovered"]
    assert await second.events_until_ended() == frames
    assert bool(fetched) == reads


async def test_many_readers_get_the_same_bytes(scene: Scene) -> None:
    """Twenty readers of one conversation, on two nodes, joined before and in mid-answer, end with the same answer."""
    talk = await scene.talk()
    nodes = [await scene.node(), await scene.node()]
    early = [await scene.client(nodes[number % 2]) for number in range(10)]
    for each in early:
        await each.subscribe(talk.conversation)
    turn = fresh_turn(talk.conversation)
    accepted = talk.accepted(turn)
    await talk.append_all([accepted, talk.started(turn), *(talk.delta(turn, seq) for seq in range(10))])
    late = [await scene.client(nodes[number % 2]) for number in range(10)]
    seen = []
    for each in late:
        answer = await each.subscribe(talk.conversation)
        [opened] = answer["history"]["open_turns"]
        seen.append(opened["answer"])
    await talk.append_all([*(talk.delta(turn, seq) for seq in range(10, 20)), talk.ended(accepted, 20)])
    whole = [await each.events_until_ended() for each in early]
    assert all(frames == whole[0] for frames in whole)
    assert text_of(whole[0]) == "".join(f"w{seq} " for seq in range(20))
    for text, each in zip(seen, late, strict=True):
        assert text + text_of(await each.events_until_ended()) == text_of(whole[0])


async def test_an_answer_above_the_bound_is_no_slow_reader(scene: Scene) -> None:
    """A turn whose text alone exceeds what may wait is told to a new reader whole, and goes on live."""
    talk = await scene.talk()
    turn = fresh_turn(talk.conversation)
    accepted = talk.accepted(turn)
    await talk.append_all([accepted, talk.started(turn), *(talk.delta(turn, seq, "x" * 5000) for seq in range(20))])
    client = await scene.client(await scene.node(outbox_bytes=64 * 1024))
    answer = await client.subscribe(talk.conversation)
    [opened] = answer["history"]["open_turns"]
    assert opened["answer"] == "x" * 100_000
    await talk.append_all([talk.delta(turn, 20), talk.ended(accepted, 21)])
    assert text_of(await client.events_until_ended()) == "w20 "


async def test_an_unreadable_position_gets_the_history(scene: Scene) -> None:
    """A position that isn't ours, or is another conversation's, gives the conversation so far, not an error."""
    talk, other = await scene.talk(), await scene.talk()
    await talk.turn()
    node = await scene.node()
    client = await scene.client(node)
    foreign = (await client.subscribe(other.conversation))["position"]
    for after in ("nonsense", foreign, "1~o~0~2~99~"):
        answer = await client.subscribe(talk.conversation, after)
        assert not answer["recovered"]
        assert [each["text"] for each in answer["history"]["messages"]] == ["hello", "w0 w1 w2 "]


async def test_a_gateway_reads_one_turn(scene: Scene) -> None:
    """With `turn` and `log` the internal principal gets that turn from its start through its end, no others."""
    node = await scene.node()
    client = await scene.client(node, token="an internal token for tests")
    for is_stored in (True, False):
        talk = await scene.talk(is_announced=False, is_stored=is_stored)
        log = {"topic": talk.log.topic, "partition": talk.log.partition}
        before = await talk.turn()
        turn = fresh_turn(talk.conversation)
        await client.say(type="subscribe", ref=1, conversation=talk.conversation, turn=turn, log=log)
        await client.say(type="subscribe", ref=2, conversation=talk.conversation, turn=before.turn, log=log)
        answers = [await client.hear(), *(frames := [await client.hear() for _ in range(7)])]
        assert sum(frame["type"] == "subscribed" for frame in answers) == 2, answers
        assert {frame["event"]["turn"] for frame in frames if frame["type"] == "event"} == {before.turn}
        accepted = talk.accepted(turn)
        records = [accepted, talk.started(turn), talk.delta(turn, 0), talk.ended(accepted, 1)]
        await talk.append_all(records)
        live = await client.events_until_ended()
        assert [frame["event"] for frame in live] == [stripped(each) for each in records]
        assert {frame["ref"] for frame in live} == {1}
