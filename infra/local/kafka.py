"""Apache Kafka as one KRaft node on loopback: its configuration, its commands, and how to ask whether it is ready."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.local.program import Place
from infra.local.resources import LOOPBACK

# One node is one cluster: the id only has to be a UUID in Kafka's base64 form, and the same for ever.
CLUSTER_ID: Final = "cGFybGV5LWxvY2FsLTAwMQ"

PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{client}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}

# One node: no copies, and few partitions for the broker's own topics.
default.replication.factor=1
min.insync.replicas=1
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

# Topics are declared and created before use; a misspelt name must not make one.
auto.create.topics.enable=false
# A topic is there 1 ms after it was asked for, not 25.
controller.quorum.append.linger.ms=1
# A first member needn't wait for others, and a dead worker's turns move on after 3 s (its session timeout).
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# After a kill the new process may register when the killed one's session is over: 4 s, eight heartbeats.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000

# Thousands of small topics: 64 KiB of index a partition instead of 10 MiB, and a small cleaner.
log.index.size.max.bytes=65536
log.cleaner.dedupe.buffer.size=8388608
log.segment.delete.delay.ms=1000
num.network.threads=3
num.io.threads=4
num.recovery.threads.per.data.dir=2
# An idle node writes a metadata record every 10 s, not twice a second.
metadata.max.idle.interval.ms=10000
"""

LOGGING: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN">
  <Appenders>
    <Console name="out"><PatternLayout pattern="%d{ISO8601} %p %c{1.} %m%n"/></Console>
  </Appenders>
  <Loggers>
    <Root level="INFO"><AppenderRef ref="out"/></Root>
    <Logger name="org.apache.kafka.common.config.AbstractConfig" level="WARN"/>
    <Logger name="org.apache.kafka.common.utils.AppInfoParser" level="WARN"/>
  </Loggers>
</Configuration>
"""


# Of Kafka 4.3's bin/kafka-run-class.sh, KAFKA_JVM_PERFORMANCE_OPTS.
_LONG_RUN: Final = ("-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35")
# On two shared cores the simple collector and the first compiler alone start twice as fast.
_QUICK_START: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True, slots=True)
class KafkaProgram:
    """Kafka 4.3 in KRaft mode, broker and controller in one process.

    A fresh node takes 250 MB resident, one with thousands of topics 450; `needed_mb` leaves room for the first minutes.
    """

    name: str = "kafka"
    title: str = "Kafka"
    version: str = "4.3.0"
    client_port: str = "client"
    other_ports: tuple[str, ...] = ("controller",)
    needed_mb: int = 400
    needed_disk_mb: int = 512
    runs_long: bool = False

    def files(self, place: Place) -> Mapping[str, str]:
        """Return `server.properties` and the logging configuration."""
        return {
            "server.properties": PROPERTIES.format(data=place.root / "data", **place.ports),
            "log4j2.xml": LOGGING,
        }

    def format_command(self, place: Place) -> Sequence[str] | None:
        """Return the command that makes the metadata log, None if it is there."""
        if (place.root / "data" / "meta.properties").exists():
            return None
        properties = str(place.root / "conf" / "server.properties")
        tool = ("kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER_ID, "-c", properties)
        return [*self._java(place, heap_mb=64), *tool]

    def command(self, place: Place) -> Sequence[str]:
        """Return the command of the broker."""
        return [
            *self._java(place, heap_mb=place.heap_mb),
            "kafka.Kafka",
            str(place.root / "conf" / "server.properties"),
        ]

    def _java(self, place: Place, *, heap_mb: int) -> list[str]:
        return [
            str(place.java),
            f"-Xms{min(128, heap_mb)}m",
            f"-Xmx{heap_mb}m",
            *(_LONG_RUN if self.runs_long else _QUICK_START),
            "-XX:+ExitOnOutOfMemoryError",
            f"-Dlog4j2.configurationFile={place.root / 'conf' / 'log4j2.xml'}",
            f"-Djava.io.tmpdir={place.root / 'tmp'}",
            "-cp",
            place.classpath,
        ]

    async def answers(self, port: int) -> bool:
        """Return True if the metadata names a broker: it has registered and is not fenced."""
        from aiokafka.client import AIOKafkaClient  # noqa: PLC0415  # 0.3 s: only who starts a broker pays it
        from aiokafka.errors import KafkaError  # noqa: PLC0415

        if not await accepts(port):
            return False
        client = AIOKafkaClient(bootstrap_servers=f"{LOOPBACK}:{port}", request_timeout_ms=5000)
        try:
            await client.bootstrap()
            return bool(client.cluster.brokers())
        except (KafkaError, OSError, TimeoutError):
            return False
        finally:
            await client.close()


async def accepts(port: int) -> bool:
    """Return True if something accepts connections there: the cheap question before the real one."""
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True
