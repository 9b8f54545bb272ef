"""What `make demo` shows of a turn: its bill, its row, its log. The journeys show the pipeline before it."""

import dataclasses
import os
import uuid
from typing import Any

import pytest

from infra.cli import demo
from infra.cli.supervision.state import State
from infra.cli.topics import apply_table, tables_topics
from infra.migrations.runner import migrate
from infra.runtime.cassandra import CassandraSettings, Store
from infra.runtime.kafka import Appender, KafkaSettings
from infra.runtime.turn_store import TurnStore
from schemas import ids, topics
from schemas.errors import DependencyError
from schemas.records import TurnCompleted, UsageRecorded
from tests.support.samples import sample


async def test_a_turn_is_shown_in_all_three_places(
    kafka: str,
    cassandra: tuple[str, int],
    topic_prefix: str,
    keyspace: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bill, row and log are printed where they agree; where they differ, or one is missing, the demo fails."""
    monkeypatch.setattr(demo, "PATIENCE_S", 10.0)
    conversation = ids.conversation_id(uuid.uuid4().hex)
    host, port = cassandra
    at_kafka = KafkaSettings(bootstrap=kafka, topic_prefix=topic_prefix)
    at_cassandra = CassandraSettings(contact_points=(host,), port=port, keyspace=keyspace)
    await apply_table(at_kafka, tables_topics())
    appender, store = Appender(at_kafka, "test"), Store(at_cassandra)
    await store.connected()
    await migrate(store)
    usage: UsageRecorded = sample(UsageRecorded)
    row: TurnCompleted = sample(TurnCompleted)
    turn, other = (ids.turn_id(conversation, uuid.uuid4().hex) for _ in range(2))
    for each, delivered in ((turn, 5), (other, 6)):
        named: dict[str, Any] = {"conversation": conversation, "turn": each}
        await appender.append(topics.USAGE, dataclasses.replace(usage, delivered_tokens=5, **named))
        await TurnStore(store).save_turn(dataclasses.replace(row, delivered_tokens=delivered, **named))
    state = State(
        pid=os.getpid(), page="", base_url="", stream_url="", key_file="",
        settings={
            "kafka.bootstrap": kafka, "kafka.topic_prefix": topic_prefix, "cassandra.contact_points": host,
            "cassandra.port": str(port), "cassandra.keyspace": keyspace,
        },
    )  # fmt: skip
    await demo._show(state, turn)
    shown = capsys.readouterr().out
    assert f'"turn":"{turn}"' in shown
    assert f"{turn} n={row.n} reason={row.reason.value}" in shown
    assert f"its log: {row.log.topic} up to offset {row.log_end}" in shown
    with pytest.raises(DependencyError, match="bill and row differ: 5 and 6 tokens"):
        await demo._show(state, other)
    monkeypatch.setattr(demo, "PATIENCE_S", 0.5)
    with pytest.raises(DependencyError, match="no usage record of"):
        await demo._show(state, ids.turn_id(conversation, uuid.uuid4().hex))
    await appender.stop()
    await store.stop()
