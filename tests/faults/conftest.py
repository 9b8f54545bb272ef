"""One pipeline for the faults of this room, on a Kafka and a Cassandra of its own: each test leaves it whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.support.accounts import Account, account
from tests.support.own_brokers import OwnBroker, breakable
from tests.support.pipeline import SETTINGS, Pipeline

# A gateway gives up sooner than in earnest, and frozen processes are expelled sooner: outages are seconds here.
SHORTENED: Final = {
    "PARLEY_GATEWAY_ACK_S": "2",
    "PARLEY_MODERATION_SESSION_TIMEOUT_S": "3",
    "PARLEY_PERSISTENCE_SESSION_TIMEOUT_S": "3",
    "PARLEY_ENRICHMENT_SESSION_TIMEOUT_S": "3",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """The pipeline and what it stands on."""

    pipeline: Pipeline
    kafka: OwnBroker
    cassandra: OwnBroker

    async def counted_once(self, turns: list[str]) -> Account:
        """Each turn comes to have one row, one bill and one end, and has no second one."""
        assert turns
        kept = await account(self.kafka.node.address, self.cassandra.address, turns)
        assert kept.lost(turns) == []
        assert kept.doubled(turns) == []
        return kept


@pytest.fixture(scope="package")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two gateways, two workers, two delivery nodes."""
    size = ("--engine", "simulated", "--workers", "2", "--gateways", "2", "--delivery", "2")
    place = tmp_path_factory.mktemp("faults")
    with breakable(place, *size, environ={**SETTINGS, **SHORTENED}) as (pipeline, kafka, cassandra):
        yield Scene(pipeline, kafka, cassandra)
