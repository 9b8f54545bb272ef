"""Which deployment a pool serves."""

from dataclasses import replace

from inference_consumers.fleet.deployment import deployment_of
from schemas import topics
from schemas.records import DeploymentSet
from tests.inference_consumers.pool import Pool
from tests.support.samples import sample


async def test_the_newest_deployment_counts(pool: Pool) -> None:
    """A pool serves what was set last for it; a tombstone or nothing at all is none."""
    assert await deployment_of("default", pool.reader) is None
    first: DeploymentSet = replace(sample(DeploymentSet), pool="default", id="1")
    second = replace(first, id="2", model_version="9")
    other = replace(first, id="3", pool="small")
    for record in (first, second, other):
        await pool.appender.append(topics.DEPLOYMENTS, record)
    assert await deployment_of("default", pool.reader) == second
    await pool.appender.append_bytes(topics.DEPLOYMENTS, b"{", key=b"small")
    assert await deployment_of("small", pool.reader) is None
    await pool.appender.tombstone(topics.DEPLOYMENTS, "default")
    assert await deployment_of("default", pool.reader) is None
