"""One table of topics: keys, what is kept, and the address of a conversation log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import ids, topics
from schemas.topics import Key
from tests.support.samples import CONVERSATION, samples

CONVERSATIONS = st.binary(min_size=16, max_size=16).map(lambda raw: ids.conversation_id(raw.hex()))


@given(CONVERSATIONS, st.booleans(), st.booleans(), st.integers(1, 256))
def test_an_address_is_a_function_of_id_and_one_fact(
    conversation: ids.ConversationId, retired: bool, stored: bool, lanes: int
) -> None:
    """The same conversation has the same address anywhere, inside the lanes there are; two facts never share one."""
    log = topics.address(conversation, retired=retired, stored=stored, lanes=lanes)
    assert log == topics.address(conversation, retired=retired, stored=stored, lanes=lanes)
    assert 0 <= log.partition < lanes
    assert topics.is_own_topic(log) == (stored and not retired)
    assert topics.topic_of(log.topic).name == log.topic


@pytest.mark.parametrize("topic", topics.TOPICS.values(), ids=lambda topic: topic.name)
def test_a_segment_is_shorter_than_the_retention(topic: topics.Topic) -> None:
    """A busy topic's open segment doesn't outlive its retention."""
    config = topic.config
    if "retention.ms" in config:
        assert int(config["segment.ms"]) * 4 <= int(config["retention.ms"])
    assert topic.compacted == ("compact" in config["cleanup.policy"])


@pytest.mark.parametrize(
    ("topic", "name", "key"),
    [
        (topics.TOPICS[topics.REQUESTS], "TurnRequested", "conversation"),
        (topics.TOPICS[topics.USAGE], "UsageRecorded", "turn"),
        (topics.TOPICS[topics.KEYS], "KeyChanged", "key_id"),
        (topics.TOPICS[topics.WORKERS], "WorkerReported", "worker"),
        (topics.TOPICS[topics.DEPLOYMENTS], "DeploymentSet", "pool"),
        (topics.inference_topic("default"), "TurnDispatched", "conversation"),
        (topics.own_topic(CONVERSATION), "turn.delta", "conversation"),
    ],
)
def test_records_are_keyed_as_the_contract_says(topic: topics.Topic, name: str, key: str) -> None:
    """Each record's key is the field that its topic names, as raw text."""
    assert topics.key_of(topic, samples()[name]) == getattr(samples()[name], key)


def test_dead_letters_are_keyed_by_their_source() -> None:
    """What came from one place has one key."""
    topic = topics.TOPICS[topics.DEAD_LETTERS]
    assert topic.key is Key.SOURCE
    assert topics.key_of(topic, samples()["DeadLettered"]) == "topic-text/7/7"
