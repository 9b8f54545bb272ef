import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from infra.runtime.kafka import Appender, KafkaSettings
from schemas import topics
from stream_processors import faust_app
from stream_processors.faust_app import App, FaustRunner, make_app
from tests.stream_processors.records import requested
from tests.support.waiting import until


def build(kafka: KafkaSettings, datadir: Path) -> App:
    return make_app(kafka, "parley-test", commit_interval_s=0.05, session_timeout_s=6.0, buffered=16, datadir=datadir)


async def test_the_rules_are_in_force(tmp_path: Path) -> None:
    """The settings that each rule for Faust asks for are those of every app."""
    conf = build(KafkaSettings(topic_prefix="t."), tmp_path).conf
    assert conf.id == "t.parley-test"
    assert str(conf.processing_guarantee.value) == "at_least_once"
    assert (conf.topic_allow_declare, conf.topic_disable_leader, conf.web_enabled) == (False, True, False)
    assert (conf.key_serializer, conf.value_serializer) == ("raw", "raw")
    assert (conf.broker_commit_interval, conf.broker_session_timeout) == (0.05, 6.0)
    assert conf.consumer_auto_offset_reset == "earliest"
    patient = make_app(
        KafkaSettings(request_timeout_s=40),
        "g",
        commit_interval_s=1,
        session_timeout_s=60,
        buffered=1,
        datadir=tmp_path,
    )
    assert patient.conf.broker_request_timeout == 61
    assert Path(conf.datadir) == tmp_path


class Taking:
    """An app that only collects events, and finishes those it is told to."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self.events: list[Any] = []
        self.runner = FaustRunner(self._app)

    def _app(self, datadir: Path) -> App:
        app = build(self._kafka, datadir)
        channel = app.topic(self._kafka.named(topics.REQUESTS), key_type=bytes, value_type=bytes)

        @app.agent(channel, concurrency=1, name="taking")  # type: ignore[untyped-decorator]
        async def take_in(stream: Any) -> None:
            async for event in stream.noack().events():
                self.events.append(event)

        return app

    async def has(self, number: int) -> bool:
        return len(self.events) >= number

    def places(self) -> list[tuple[int, int]]:
        return sorted((event.message.partition, event.message.offset) for event in self.events)


async def send(appender: Appender, number: int) -> None:
    for place in range(number):
        await appender.append(topics.REQUESTS, requested(str(place)), partition=0)


async def test_only_what_is_finished_is_committed(kafka_settings: KafkaSettings, appender: Appender) -> None:
    """Events that were taken and acknowledged in Faust's own way come again; those that were finished don't."""
    await send(appender, 6)
    first = Taking(kafka_settings)
    await first.runner.start()
    await until(lambda: first.has(6))
    for event in first.events:
        event.ack()
    for event in first.events[:4]:
        event.app.finish(event)
    await until(lambda: _has_committed(first, 4))
    await first.runner.stop(is_abandoning=True)
    second = Taking(kafka_settings)
    await second.runner.start()
    await until(lambda: second.has(2))
    assert second.places() == [(0, 4), (0, 5)]
    await second.runner.stop(is_abandoning=True)


async def _has_committed(taking: Taking, offset: int) -> bool:
    known = [taking.runner.committed_and_end(place) for place in taking.runner.assignment() if place.partition == 0]
    return bool(known) and known[0] is not None and known[0][0] == offset


async def test_a_stop_waits_for_what_was_handed_out(kafka_settings: KafkaSettings, appender: Appender) -> None:
    """A drain ends when the last event is finished, and has committed it."""
    await send(appender, 3)
    first = Taking(kafka_settings)
    await first.runner.start()
    await until(lambda: first.has(3))
    stopping = asyncio.create_task(first.runner.stop())
    done, _ = await asyncio.wait({stopping}, timeout=0.3)
    assert not done
    for event in first.events:
        event.app.finish(event)
    await asyncio.wait_for(stopping, 10)
    second = Taking(kafka_settings)
    await second.runner.start()
    await send(appender, 1)
    await until(lambda: second.has(1))
    assert second.places() == [(0, 3)]
    await second.runner.stop(is_abandoning=True)


@pytest.mark.parametrize("deleted", [0, 3])
async def test_where_nothing_is_committed_a_rebalance_begins_anew(
    kafka_settings: KafkaSettings, appender: Appender, deleted: int
) -> None:
    """What was fetched before a partition's first commit comes again, also of a log whose beginning is deleted."""
    await send(appender, deleted + 2)
    await delete_below(kafka_settings, deleted)
    taking = Taking(kafka_settings)
    await taking.runner.start()
    await until(lambda: taking.has(2))
    consumer = taking.events[0].app.consumer
    try:
        # As behind every rebalance, whose stop of the flow may have dropped what was fetched.
        consumer.stop_flow()
        await consumer.perform_seek()
        consumer.resume_flow()
        await until(lambda: taking.has(4))
    finally:
        await taking.runner.stop(is_abandoning=True)
    first, second = (0, deleted), (0, deleted + 1)
    assert taking.places() == [first, first, second, second]


async def delete_below(kafka: KafkaSettings, offset: int) -> None:
    """Take away what lies before, as retention does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        place = TopicPartition(kafka.named(topics.REQUESTS), 0)
        await admin.delete_records({place: RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()


async def test_a_crashed_app_is_replaced(kafka_settings: KafkaSettings, appender: Appender) -> None:
    """When Faust crashes as a whole, another app goes on at the last commit in the same process."""
    taking = Taking(kafka_settings)
    await taking.runner.start()
    watching = asyncio.create_task(taking.runner.watch())
    await send(appender, 2)
    await until(lambda: taking.has(2))
    for event in taking.events:
        event.app.finish(event)
    await until(lambda: _has_committed(taking, 2))
    crashed = taking.events[0].app
    await crashed.crash(RuntimeError("a commit that failed"))
    await send(appender, 1)
    await until(lambda: taking.has(3))
    assert taking.events[-1].app is not crashed
    assert taking.places() == [(0, 0), (0, 1), (0, 2)]
    watching.cancel()
    await asyncio.wait({watching})
    await taking.runner.stop(is_abandoning=True)


def test_a_bug_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end comes at once, by a status of its own, without a chance to acknowledge anything."""
    ended: list[int] = []
    monkeypatch.setattr(faust_app, "os", SimpleNamespace(_exit=ended.append))
    monkeypatch.setattr(logging, "shutdown", lambda: None)
    end: Callable[[BaseException], None] = faust_app.end_process
    end(ZeroDivisionError("a bug"))
    assert ended == [70]
