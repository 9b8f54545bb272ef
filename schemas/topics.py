"""Every topic in one table (contract, "Topics"), and the address of a conversation log.

Names stand without the prefix; `infra.runtime.kafka` puts it on. Nothing else in the code asks for the layout.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas import ids
from schemas.ids import ConversationId
from schemas.records import Record
from schemas.turns import LogAddress

_SECOND_MS: Final = 1000
_HOUR_MS: Final = 3600 * _SECOND_MS
_DAY_MS: Final = 24 * _HOUR_MS

REQUESTS: Final = "chat.requests"
MODERATED: Final = "chat.moderated"
CONTROL: Final = "chat.control"
TURNS: Final = "chat.turns"
USAGE: Final = "chat.usage"
VERDICTS: Final = "safety.verdicts"
CONVERSATIONS: Final = "chat.conversations"
SPARES: Final = "conversations.spares"
KEYS: Final = "identity.keys"
POLICIES: Final = "policy.rules"
WORKERS: Final = "fleet.status"
DEPLOYMENTS: Final = "fleet.deployments"
DEAD_LETTERS: Final = "dead.letters"
LANES: Final = "conversations"
UNSTORED_LANES: Final = "conversations.unstored"
GATE_CHANGELOG: Final = "parley-enrichment-gate-changelog"  # named as faust names the tables of that group
CONTEXT_CHANGELOG: Final = "parley-enrichment-context-changelog"
CLOSING_POOL: Final = "closing"

OWN_TOPIC_PREFIX: Final = "conversation."
INFERENCE_PREFIX: Final = "inference."

MAX_RECORD_BYTES: Final = 1_000_000  # below Kafka's default message.max.bytes of 1 048 588, header and batch included
MAX_LOG_RECORD_BYTES: Final = 256 * 1024


class Count(StrEnum):
    """Which setting gives the number of partitions."""

    CHAT = "partitions"
    POOL = "inference_partitions"
    LANES = "lanes"
    SPARES = "spare_partitions"
    ONE = "one"


class Key(StrEnum):
    """Which field of a record is its Kafka key."""

    CONVERSATION = "conversation"
    TURN = "turn"
    KEY_ID = "key_id"
    POLICY = "policy"
    WORKER = "worker"
    POOL = "pool"
    SOURCE = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic, or one kind of topics.

    Args:
        retention_ms: how long a record is kept; None = for ever (a compacted topic keeps the newest of each key).
        min_compaction_lag_ms: how long a record stays beside its successors.
    """

    name: str
    key: Key
    count: Count
    retention_ms: int | None
    compacted: bool = False
    min_compaction_lag_ms: int = 0

    @property
    def config(self) -> dict[str, str]:
        """The topic's Kafka configuration. A segment is a quarter of the retention: an open one is never deleted."""
        policy = {
            (False, False): "delete",
            (True, False): "delete",
            (True, True): "compact,delete",
            (False, True): "compact",
        }
        entries = {"cleanup.policy": policy[self.retention_ms is not None, self.compacted]}
        if self.retention_ms is not None:
            entries["retention.ms"] = str(self.retention_ms)
            entries["segment.ms"] = str(self.retention_ms // 4)
        if self.compacted:
            entries["min.compaction.lag.ms"] = str(self.min_compaction_lag_ms)
        return entries


def _chat(name: str, days: int) -> Topic:
    return Topic(name=name, key=Key.CONVERSATION, count=Count.CHAT, retention_ms=days * _DAY_MS)


def _compacted(name: str, key: Key, count: Count = Count.ONE) -> Topic:
    return Topic(name=name, key=key, count=count, retention_ms=None, compacted=True)


def _changelog(name: str) -> Topic:
    """An hour beside its successor: recovery then meets a zombie's record beside the good one (R9)."""
    return Topic(
        name=name,
        key=Key.CONVERSATION,
        count=Count.CHAT,
        retention_ms=None,
        compacted=True,
        min_compaction_lag_ms=_HOUR_MS,
    )


TOPICS: Final[Mapping[str, Topic]] = {
    topic.name: topic
    for topic in (
        _chat(REQUESTS, 7),
        _chat(MODERATED, 7),
        _chat(CONTROL, 1),
        _chat(TURNS, 30),
        Topic(name=USAGE, key=Key.TURN, count=Count.CHAT, retention_ms=90 * _DAY_MS, compacted=True),
        _chat(VERDICTS, 90),
        _compacted(CONVERSATIONS, Key.CONVERSATION, Count.CHAT),
        _compacted(KEYS, Key.KEY_ID),
        _compacted(POLICIES, Key.POLICY),
        _compacted(WORKERS, Key.WORKER),
        _compacted(DEPLOYMENTS, Key.POOL),
        Topic(name=DEAD_LETTERS, key=Key.SOURCE, count=Count.ONE, retention_ms=30 * _DAY_MS),
        _changelog(GATE_CHANGELOG),
        _changelog(CONTEXT_CHANGELOG),
        Topic(name=LANES, key=Key.CONVERSATION, count=Count.LANES, retention_ms=7 * _DAY_MS),
        Topic(name=SPARES, key=Key.CONVERSATION, count=Count.SPARES, retention_ms=_HOUR_MS),
        Topic(name=UNSTORED_LANES, key=Key.CONVERSATION, count=Count.LANES, retention_ms=_DAY_MS),
    )
}
"""The topics that exist before anything starts. Pools and own topics are made from the two functions below."""


def inference_topic(pool: str) -> Topic:
    """The topic of a pool's dispatched turns."""
    name = f"{INFERENCE_PREFIX}{pool}"
    return Topic(name=name, key=Key.CONVERSATION, count=Count.POOL, retention_ms=7 * _DAY_MS)


def own_topic(conversation: ConversationId) -> Topic:
    """A conversation's own topic."""
    name = f"{OWN_TOPIC_PREFIX}{ids.conversation_hex(conversation)}"
    return Topic(name=name, key=Key.CONVERSATION, count=Count.ONE, retention_ms=7 * _DAY_MS)


def topic_of(name: str) -> Topic:
    """The table's row for a topic's name, own topics and pools included. Raises KeyError for a stranger."""
    if name.startswith(OWN_TOPIC_PREFIX):
        return own_topic(ids.conversation_id(name.removeprefix(OWN_TOPIC_PREFIX)))
    if name.startswith(INFERENCE_PREFIX):
        return inference_topic(name.removeprefix(INFERENCE_PREFIX))
    return TOPICS[name]


def key_of(topic: Topic, record: Record) -> str:
    """The record's key on that topic: raw text, so that every client's partitioner agrees."""
    if topic.key is Key.SOURCE:
        source = getattr(record, Key.SOURCE)
        return f"{source.topic}/{source.partition}/{source.offset}"
    return str(getattr(record, topic.key.value))


def address(conversation: ConversationId, *, retired: bool, stored: bool, lanes: int) -> LogAddress:
    """Where the conversation's log is: a function of its id and of one fact, `retired`.

    Args:
        retired: its own topic is gone, or it never had one.
        stored: False for calls that are not stored: they always ride a lane that is kept for a day.
        lanes: partitions of the lane topics.
    """
    lane = int(ids.conversation_hex(conversation)[-8:], 16) % lanes
    if not stored:
        return LogAddress(UNSTORED_LANES, lane)
    if retired:
        return LogAddress(LANES, lane)
    return LogAddress(own_topic(conversation).name, 0)


def is_own_topic(log: LogAddress) -> bool:
    """True for an address that holds one conversation alone: its reader begins at the beginning."""
    return log.topic.startswith(OWN_TOPIC_PREFIX)
