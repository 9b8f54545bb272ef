"""Which deployment a pool serves, as `fleet.deployments` says."""

from infra.runtime.kafka_log import LogReader
from schemas import codec, topics
from schemas.errors import ContractError
from schemas.records import DeploymentSet


async def deployment_of(pool: str, reader: LogReader) -> DeploymentSet | None:
    """The newest deployment of the pool; None when nobody has set one.

    Raises:
        KafkaUnavailable: try again later.
    """
    newest: DeploymentSet | None = None
    for partition in await reader.partitions(topics.DEPLOYMENTS):
        beginning, _end = await reader.bounds(topics.DEPLOYMENTS, partition)
        async for entry in reader.read(topics.DEPLOYMENTS, partition, beginning):
            if entry.key != pool.encode():
                continue
            newest = _read(entry.value) if entry.value is not None else None
    return newest


def _read(value: bytes) -> DeploymentSet | None:
    try:
        record = codec.decode(value)
    except ContractError:
        return None
    return record if isinstance(record, DeploymentSet) else None
