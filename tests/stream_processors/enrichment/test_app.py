"""What the gate takes from faust and what it doesn't: the rules of DESIGN.md that need no broker to be shown."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.runtime.kafka import KafkaSettings
from schemas import topics
from schemas.errors import KafkaUnavailable
from stream_processors import faust_app
from stream_processors.enrichment.app import INPUTS, GateApp, RocksStore
from stream_processors.enrichment.changelog import Changelog
from stream_processors.enrichment.fencing import GENERATION_HEADER, Stamp, body, stamped
from stream_processors.enrichment.processing import Taken
from stream_processors.enrichment.settings import EnrichmentSettings


class Recorded:
    """A gate app and what it told."""

    def __init__(self, directory: Path) -> None:
        self.taken: list[Taken] = []
        self.broken: list[BaseException] = []

        async def take(taken: Taken) -> None:
            self.taken.append(taken)

        self.app = GateApp(
            KafkaSettings(topic_prefix="p.", partitions=4),
            EnrichmentSettings(data_dir=directory),
            take=take,
            on_opened=lambda _partition, _generation, _ends: None,
            on_closed=lambda: None,
            on_broken=self.broken.append,
        )


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


async def test_faust_is_set_as_the_rules_say(recorded: Recorded) -> None:
    """At-least-once, one agent at concurrency 1 on one topic object, nothing declared, tables where topics say."""
    app = recorded.app.app
    assert str(app.conf.processing_guarantee) == "ProcessingGuarantee.AT_LEAST_ONCE"
    assert not app.conf.topic_allow_declare
    assert not app.conf.web_enabled
    [agent] = [agent for name, agent in app.agents.items() if "gate" in name or "_run" in name]
    assert agent.concurrency == 1
    assert set(agent.channel.topics) == {f"p.{name}" for name in INPUTS}
    assert recorded.app.gate.changelog_topic_name == f"p.{topics.GATE_CHANGELOG}"
    assert recorded.app.context.changelog_topic_name == f"p.{topics.CONTEXT_CHANGELOG}"
    assert {topics.GATE_CHANGELOG, topics.CONTEXT_CHANGELOG} <= topics.TOPICS.keys()
    assert all(topics.TOPICS[name].min_compaction_lag_ms >= 3_600_000 for name in (topics.GATE_CHANGELOG,))


async def test_a_start_that_hangs_ends(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app that can't join its group, or crashes on its way, is told of instead of waited for."""
    app = recorded.app.app

    async def forever() -> None:
        await asyncio.Event().wait()

    async def at_once() -> None:
        app._crash_reason = ZeroDivisionError("a bug")

    monkeypatch.setattr(faust_app, "_START_S", 0.05)
    monkeypatch.setattr(app, "start", forever)
    monkeypatch.setattr(app, "wait_until_stopped", forever)
    with pytest.raises(KafkaUnavailable):
        await recorded.app.start()
    monkeypatch.setattr(app, "wait_until_stopped", at_once)
    with pytest.raises(ZeroDivisionError):
        await recorded.app.start()


async def test_inputs_are_acknowledged_by_us_alone(recorded: Recorded) -> None:
    """The stream's own acks are off; an ack of an assignment that is over tells faust nothing."""
    finished: list[Any] = []
    message = SimpleNamespace(topic="p.chat.control", partition=1, offset=5, key=b"k", value=b"v", generation_id=3)

    class Stream:
        enable_acks = True

        async def events(self) -> AsyncIterator[Any]:
            assert not self.enable_acks
            yield SimpleNamespace(message=message)

    recorded.app.app.finish = finished.append  # type: ignore[method-assign,assignment]
    recorded.app.app.consumer_generation_id = 3
    await recorded.app._run(Stream())
    [taken] = recorded.taken
    assert (taken.topic, taken.partition, taken.offset, taken.generation) == ("chat.control", 1, 5, 3)
    assert finished == []
    taken.ack()
    assert len(finished) == 1
    recorded.app.app.consumer_generation_id = 4
    taken.ack()
    assert len(finished) == 1


async def test_recovery_goes_through_the_fence(recorded: Recorded) -> None:
    """Records that faust reads back land in the real store by generation; the store's place moves with them."""
    table = recorded.app.gate
    store = RocksStore(table)
    table.changelog = Changelog("c", _never, store, recorded.broken.append)
    good, bad = stamped(Stamp(5, 1, 0), b"good"), stamped(Stamp(4, 1, 0), b"bad")
    table.apply_changelog_batch([_event(0, b"k", good), _event(1, b"k", bad), _event(2, b"other", good)])
    assert body(store.get(0, b"k") or b"") == b"good"
    assert [key for key, _ in store.items(0)] == [b"k", b"other"]
    assert [key for key, _ in store.items(0, b"o")] == [b"other"]
    assert table.data.persisted_offset(SimpleNamespace(partition=0)) == 2
    table.apply_changelog_batch([_event(3, b"k", None, ((GENERATION_HEADER, b"4"),))])
    assert store.get(0, b"k") is not None
    table.apply_changelog_batch([_event(4, b"k", None, ((GENERATION_HEADER, b"5"),))])
    assert store.get(0, b"k") is None
    await table.data.stop()


async def test_a_recovery_that_fails_is_told(recorded: Recorded) -> None:
    """Faust would log it and go on without the record; here the process ends."""
    table = recorded.app.gate
    table.changelog = Changelog("c", _never, RocksStore(table), recorded.broken.append)
    with pytest.raises(Exception, match="changelog value"):
        table.apply_changelog_batch([_event(0, b"k", b"x"), _event(1, b"k", b"y")])
    assert len(recorded.broken) == 1
    await table.data.stop()


async def test_no_partition_is_asked_for_when_none_flows(recorded: Recorded) -> None:
    """An empty set means every partition to aiokafka: then nothing is asked at all."""
    consumer = recorded.app.app.consumer
    assert await consumer._getmany(set(), 0.1) == {}
    asked: list[Any] = []

    async def getmany(active: Any, timeout: float) -> dict[Any, Any]:
        asked.append(active)
        return {}

    consumer._thread.getmany = getmany
    active = {"a"}
    await consumer._getmany(active, 0.1)
    active.clear()
    assert asked == [frozenset({"a"})]


async def _never(_partition: int, _key: bytes, _value: bytes | None, _generation: int) -> Any:
    raise AssertionError("nothing is written here")


def _event(offset: int, key: bytes, value: bytes | None, headers: Any = ()) -> Any:
    return SimpleNamespace(message=SimpleNamespace(partition=0, offset=offset, key=key, value=value, headers=headers))
