"""One answer, cut at every place and healed at another node: what a reader ends with is compared event by event."""

from dataclasses import dataclass
from typing import Any

from tests.delivery.scene import Client, Listening, Scene, fresh_turn

# Readers of one conversation, half at each node; some join in the middle of the answer.
READERS = 20


@dataclass(frozen=True, slots=True)
class Cuts:
    """How many places there were, how many were healed exactly, and how many readers that saw all saw the same."""

    places: int
    exact: int
    readers_alike: int


async def every_cut(scene: Scene, first: Listening, second: Listening, tokens: int, *, in_lane: bool) -> Cuts:
    """An answer of so many deltas, read at `first`; then resumed at `second` behind each of its events."""
    talk = await scene.talk(in_lane=in_lane)
    readers = [await scene.client((first, second)[number % 2]) for number in range(READERS)]
    early, late = readers[: READERS // 2], readers[READERS // 2 :]
    positions = [(await each.subscribe(talk.conversation))["position"] for each in early]
    turn = fresh_turn(talk.conversation)
    accepted = talk.accepted(turn)
    middle = tokens // 2
    await talk.append_all([accepted, talk.started(turn), *(talk.delta(turn, seq) for seq in range(middle))])
    begun = [_shown(await each.subscribe(talk.conversation)) for each in late]
    await talk.append_all([*(talk.delta(turn, seq) for seq in range(middle, tokens)), talk.ended(accepted, tokens)])
    whole = [await each.events_until_ended() for each in early]
    frames = whole[0]
    answer = "".join(f"w{seq} " for seq in range(tokens))
    alike = sum(seen == frames for seen in whole) if text_of(frames) == answer else 0
    for text, each in zip(begun, late, strict=True):
        alike += text + text_of(await each.events_until_ended()) == answer
    exact = 0
    for cut, after in enumerate([positions[0], *(frame["position"] for frame in frames[:-1])]):
        other = await scene.client(second)
        exact += frames[:cut] + await _resumed(other, talk.conversation, after) == frames
        await other.socket.close()
    return Cuts(len(frames), exact, alike)


def text_of(frames: list[dict[str, Any]]) -> str:
    """The answer in these events."""
    return "".join(frame["event"]["text"] for frame in frames if frame["event"]["type"] == "turn.delta")


async def _resumed(client: Client, conversation: str, after: str) -> list[dict[str, Any]]:
    answer = await client.subscribe(conversation, after)
    is_whole = answer["recovered"] and answer["position"] == after and answer.get("history") is None
    return await client.events_until_ended() if is_whole else []


def _shown(answer: dict[str, Any]) -> str:
    # Nothing, where a node hadn't met the new log yet: then the events tell all of it.
    return "".join(opened["answer"] for opened in answer["history"]["open_turns"])
