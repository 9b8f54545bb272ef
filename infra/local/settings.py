"""Settings of `[local]`: what `parley up` starts on this machine when no Kafka or Cassandra is configured."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """How the local Kafka and Cassandra are run.

    Args:
        maven_url: root of the Maven repository that jars are loaded from; empty = the resolver's own default.
        kafka_port: port of the broker on loopback; 0 = a free one, kept in the data directory.
        cassandra_port: the same for CQL.
        kafka_heap_mb: most that Kafka's Java heap grows to; 10 000 conversation topics fit in 512.
        cassandra_heap_mb: most that Cassandra's Java heap grows to.
        start_limit_s: a program that isn't ready by then has failed. Measured: 2-5 s; a log recovery takes longer.
        stop_limit_s: what a program gets between SIGTERM and SIGKILL. Measured: 1-3 s.
    """

    maven_url: str = ""
    kafka_port: int = 0
    cassandra_port: int = 0
    kafka_heap_mb: int = 512
    cassandra_heap_mb: int = 256
    start_limit_s: float = 90.0
    stop_limit_s: float = 15.0
