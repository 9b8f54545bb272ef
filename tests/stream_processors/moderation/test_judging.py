import base64
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec, topics
from schemas.records import (
    ConversationDeleted,
    ConversationReset,
    DeadLettered,
    Record,
    TurnAllowed,
    TurnRefused,
    TurnRequested,
    VerdictReached,
)
from schemas.turns import Action, Message, Role, Source
from stream_processors.moderation.judging import Judgement, judgement
from stream_processors.moderation.policy import EMPTY, Policy, PolicySet, Rule, RuleAction
from tests.stream_processors.moderation.texts import SENTENCE, rules
from tests.stream_processors.records import new_conversation, requested, reset
from tests.support.samples import samples

AT = "2026-01-31T12:00:00.000Z"
SOURCE = Source(topics.REQUESTS, 2, 17)


def judged(record: Record, policies: PolicySet = EMPTY) -> Judgement:
    return judgement(codec.encode(record), SOURCE, policies, AT)


def test_an_allowed_turn_is_passed_on_and_told() -> None:
    """Without a match the request goes on unchanged, and the verdict `allow` is told beside it."""
    turn = requested("a cake")
    moderated, told = judged(turn, rules("bomb")).outputs
    assert (moderated.topic, told.topic) == (topics.MODERATED, topics.VERDICTS)
    assert isinstance(moderated.record, TurnAllowed)
    assert isinstance(told.record, VerdictReached)
    assert moderated.record.request == turn.request
    assert (moderated.record.id, moderated.record.at, moderated.record.turn) == (
        f"{turn.turn}.moderated",
        AT,
        turn.turn,
    )
    assert (told.record.action, told.record.rule) == (Action.ALLOW, None)
    assert told.trace == turn.request.traceparent is not None


def test_a_refused_turn_says_why() -> None:
    """A match refuses the turn with the policy's sentence."""
    moderated, told = judged(requested("a bomb"), rules("bomb")).outputs
    assert isinstance(moderated.record, TurnRefused)
    assert (moderated.record.verdict.rule, moderated.record.verdict.sentence) == ("forbidden", SENTENCE)
    assert isinstance(told.record, VerdictReached)
    assert (told.record.policy, told.record.policy_version) == ("house", 3)


def test_flags_pass_and_are_all_told() -> None:
    """Flags let the turn pass; each is told once, the first is the turn's verdict."""
    flagging = Rule(rule="a", texts=("cake",), action=RuleAction.FLAG)
    other = Rule(rule="b", texts=("tea",), action=RuleAction.FLAG)
    policies = PolicySet([Policy("house", 1, SENTENCE, [flagging, other])])
    result = judged(requested("cake and tea and cake"), policies)
    assert isinstance(result.outputs[0].record, TurnAllowed)
    assert [verdict.rule for verdict in result.verdicts] == ["a", "b"]
    assert len(result.outputs) == 3


@pytest.mark.parametrize("place", ["text", "history", "instructions", "conversation_instructions"])
def test_nothing_of_the_clients_goes_unread(place: str) -> None:
    """What a client gives to be read before its text is judged like the text."""
    turn = requested("harmless")
    given: dict[str, object] = {place: "a bomb"}
    if place == "history":
        given = {place: (Message(Role.USER, "hello"), Message(Role.ASSISTANT, "a bomb"))}
    hidden = dataclasses.replace(turn, request=dataclasses.replace(turn.request, **given))  # type: ignore[arg-type]
    assert isinstance(judged(hidden, rules("bomb")).outputs[0].record, TurnRefused)


def test_resets_and_deletes_are_passed_on() -> None:
    """They go on as they are: the gate needs them in their place between the turns."""
    for record in (reset(new_conversation()), samples()["ConversationDeleted"]):
        [output] = judged(record).outputs
        assert output.topic == topics.MODERATED
        assert isinstance(output.record, ConversationReset | ConversationDeleted)
        assert output.record == record
        assert judged(record).verdicts == ()


@given(st.binary(max_size=200) | st.none())
def test_any_bytes_lead_somewhere(value: bytes | None) -> None:
    """Whatever stands on the topic leads to a record: what can't be read, to a letter with its bytes and place."""
    [output] = judgement(value, SOURCE, EMPTY, AT).outputs
    assert isinstance(output.record, DeadLettered)
    assert output.topic == topics.DEAD_LETTERS
    assert output.record.source == SOURCE
    assert base64.b64decode(output.record.value) == (value or b"")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"tenant": None}, "$.tenant"),
        ({"conversation": None}, ""),
        ({"conversation": new_conversation()}, "$.turn"),
        ({"turn": None}, ""),
    ],
)
def test_a_turn_that_belongs_nowhere_is_unreadable(changes: dict[str, object], place: str) -> None:
    """A turn without tenant, conversation or id, or of another conversation, has no road to go on."""
    broken: TurnRequested = dataclasses.replace(requested("x"), **changes)  # type: ignore[arg-type]
    [output] = judged(broken).outputs
    assert isinstance(output.record, DeadLettered)
    assert output.record.place == place


@pytest.mark.parametrize(
    "name", [name for name in samples() if name not in {"TurnRequested", "ConversationReset", "ConversationDeleted"}]
)
def test_strangers_are_not_passed_on(name: str) -> None:
    """A record of another topic is for a person to look at."""
    [output] = judged(samples()[name]).outputs
    assert isinstance(output.record, DeadLettered)
    assert output.record.error == f"{name} does not belong on chat.requests"
