"""Apache Cassandra as one node on loopback: its configuration, its command, and how to ask whether it is ready."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.local.kafka import accepts
from infra.local.program import Place
from infra.local.resources import LOOPBACK

YAML: Final = """\
cluster_name: parley-local
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
# Not periodic, the default: a kill would lose the last 0.1 s of what was acknowledged.
commitlog_sync: group
commitlog_sync_group_window: 2ms
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: {storage}
native_transport_port: {cql}
data_file_directories: ["{data}/tables"]
commitlog_directory: "{data}/commitlog"
saved_caches_directory: "{data}/saved_caches"
hints_directory: "{data}/hints"
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "127.0.0.1:{storage}"}}]
"""

LOGGING: Final = """\
<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%date %level %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="out"/></root>
</configuration>
"""

# All that 17 needs: found by leaving each one out.
OPENED: Final = ("java.base/sun.nio.ch", "java.base/java.io", "java.base/jdk.internal.ref")
TUNING: Final = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:MaxDirectMemorySize=256m",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djdk.attach.allowAttachSelf=true",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dcassandra-foreground=yes",
    # There are no others to wait for.
    "-Dcassandra.skip_wait_for_gossip_to_settle=0",
    "-Dcassandra.ring_delay_ms=0",
    "-Dcassandra.skip_schema_check=true",
    "-Dcassandra.initial_token=0",
    "-Dcassandra.shutdown_announce_in_ms=0",
    # Given, it isn't measured: 1.6 s at every start.
    "-Dcassandra.memtable.row_overhead_size=100",
)


@dataclass(frozen=True, slots=True)
class CassandraProgram:
    """Cassandra 5.0, one node without JMX.

    As root it locks in memory all that it reserves, hence the small first heap: 430 MB resident, 280 as a user.
    """

    name: str = "cassandra"
    title: str = "Cassandra"
    version: str = "5.0.9"
    client_port: str = "cql"
    other_ports: tuple[str, ...] = ("storage",)
    needed_mb: int = 450
    needed_disk_mb: int = 512

    def files(self, place: Place) -> Mapping[str, str]:
        """Return `cassandra.yaml` and the logging configuration."""
        return {"cassandra.yaml": YAML.format(data=place.root / "data", **place.ports), "logback.xml": LOGGING}

    def format_command(self, place: Place) -> Sequence[str] | None:
        """Return None: a new directory needs no preparation."""
        del place
        return None

    def command(self, place: Place) -> Sequence[str]:
        """Return the command of the daemon."""
        conf = place.root / "conf"
        return [
            str(place.java),
            "-Xms64m",
            f"-Xmx{place.heap_mb}m",
            *TUNING,
            *(f"--add-opens={module}=ALL-UNNAMED" for module in OPENED),
            f"-Dcassandra.config={(conf / 'cassandra.yaml').as_uri()}",
            f"-Dcassandra.storagedir={place.root / 'data'}",
            f"-Dlogback.configurationFile={conf / 'logback.xml'}",
            f"-Djava.io.tmpdir={place.root / 'tmp'}",
            "-cp",
            place.classpath,
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    async def answers(self, port: int) -> bool:
        """Return True if a query is answered."""
        return await accepts(port) and await asyncio.to_thread(_query, port)


def _query(port: int) -> bool:
    from cassandra.cluster import (  # noqa: PLC0415  # 0.3 s: only who starts a node pays it
        EXEC_PROFILE_DEFAULT,
        Cluster,
        ExecutionProfile,
        NoHostAvailable,
    )
    from cassandra.policies import WhiteListRoundRobinPolicy  # noqa: PLC0415

    profile = ExecutionProfile(load_balancing_policy=WhiteListRoundRobinPolicy([LOOPBACK]))
    cluster = Cluster([LOOPBACK], port=port, protocol_version=5, execution_profiles={EXEC_PROFILE_DEFAULT: profile})
    try:
        session = cluster.connect()
        return session.execute("SELECT release_version FROM system.local").one() is not None
    except (NoHostAvailable, OSError):
        return False
    finally:
        cluster.shutdown()
