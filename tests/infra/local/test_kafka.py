"""A real Kafka: what was acknowledged is there after a stop, after a kill, and nothing outlives its parent."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.local.child import Child
from infra.local.kafka import KafkaProgram
from infra.local.node import local_kafka
from infra.local.program import Place
from tests.infra.local.test_child import gone

PLACE = Place(root=Path("/d"), java=Path("/j/java"), classpath="a:b", ports={"client": 1, "controller": 2}, heap_mb=300)


def test_the_configuration_is_loopback_and_makes_no_topics() -> None:
    """Both listeners are on loopback, topics aren't made by a misspelt name, sessions may be short."""
    properties = KafkaProgram().files(PLACE)["server.properties"]
    lines = dict(line.split("=", 1) for line in properties.splitlines() if "=" in line and not line.startswith("#"))
    assert lines["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert lines["auto.create.topics.enable"] == "false"
    assert lines["group.min.session.timeout.ms"] == "1000"
    assert lines["controller.quorum.append.linger.ms"] == "1"
    assert lines["log.dirs"] == "/d/data"


def test_a_formatted_directory_is_not_formatted_again(tmp_path: Path) -> None:
    """The storage tool runs once in the life of a directory."""
    place = Place(root=tmp_path, java=Path("/j/java"), classpath="a", ports=PLACE.ports, heap_mb=300)
    assert KafkaProgram().format_command(place) is not None
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("")
    assert KafkaProgram().format_command(place) is None
    assert "-Xmx300m" in KafkaProgram().command(place)


def test_a_broker_that_runs_long_has_the_collector_for_it() -> None:
    """A quick start is what a demo needs; who serves thousands of topics asks for Kafka's own choice."""
    quick, long = KafkaProgram().command(PLACE), KafkaProgram(runs_long=True).command(PLACE)
    assert "-XX:+UseSerialGC" in quick
    assert "-XX:TieredStopAtLevel=1" in quick
    assert "-XX:+UseG1GC" in long
    assert not {"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"} & set(long)


async def produce(address: str, count: int, first: int) -> None:
    """Append records, each acknowledged."""
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True)
    await producer.start()
    sent = [await producer.send("t", b"%d" % i, partition=0) for i in range(first, first + count)]
    await asyncio.gather(*sent)
    await producer.stop()


async def consume(address: str, count: int) -> list[int]:
    """Read that many from the beginning."""
    consumer = AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False)
    await consumer.start()
    partition = TopicPartition("t", 0)
    consumer.assign([partition])
    await consumer.seek_to_beginning(partition)
    values: list[int] = []
    async with asyncio.timeout(30):
        while len(values) < count:
            batch = await consumer.getmany(timeout_ms=500)
            values += [int(record.value) for records in batch.values() for record in records if record.value]
    await consumer.stop()
    return values


async def test_acknowledged_records_outlive_a_stop_and_a_kill(tmp_path: Path) -> None:
    """A clean restart and a kill both keep every acknowledged record, at the same address."""
    node = local_kafka(tmp_path / "kafka")
    address = await node.start()
    try:
        admin = AIOKafkaAdminClient(bootstrap_servers=address)
        await admin.start()
        await admin.create_topics([NewTopic("t", 1, 1)])
        await admin.close()
        await produce(address, 500, 0)
        await node.stop()
        assert "ERROR" not in node.log.read_text()
        assert await node.start() == address
        await produce(address, 500, 500)
        assert node.pid is not None
        os.kill(node.pid, signal.SIGKILL)
        await node.ended()
        await node.stop()
        assert await node.start() == address
        assert await consume(address, 1000) == list(range(1000))
    finally:
        await node.stop(limit_s=5)


async def test_it_dies_with_a_killed_parent_and_its_data_can_be_opened_at_once(tmp_path: Path) -> None:
    """After SIGKILL of who started it nothing runs on, and the next start has the directory."""
    script = f"""
import asyncio
from pathlib import Path
from infra.local.node import local_kafka
async def main():
    node = local_kafka(Path({str(tmp_path)!r}, "kafka"))
    await node.start()
    print("up", node.pid, flush=True)
    await node.ended()
asyncio.run(main())
"""
    parent = await Child.start([sys.executable, "-c", script], log=tmp_path / "parent.log", cwd=Path.cwd())
    async with asyncio.timeout(60):
        while "up" not in parent.tail():
            assert parent.returncode is None, parent.tail()
            await asyncio.sleep(0.05)
    broker = int(parent.tail().rsplit("up", 1)[1])
    parent.signal(signal.SIGKILL)
    await parent.wait()
    assert await gone(broker)
    node = local_kafka(tmp_path / "kafka")
    await node.start()
    await node.stop(limit_s=5)
