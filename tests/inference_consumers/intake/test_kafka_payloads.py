"""Dispatches read again."""

import pytest

from inference_consumers.intake.kafka_payloads import KafkaPayloads
from schemas.errors import KafkaUnavailable
from schemas.turns import Source
from tests.inference_consumers.pool import Pool, dispatch_of


async def test_a_dispatch_is_read_from_its_place(pool: Pool) -> None:
    """The very record that was dispatched comes back; an offset that isn't there is an error of Kafka's."""
    first, second = dispatch_of("one"), dispatch_of("two")
    await pool.again(first, partition=0)
    placed = await pool.again(second, partition=0)
    payloads = KafkaPayloads(pool.reader)
    assert await payloads.read(Source(placed.topic, 0, placed.offset)) == second
    with pytest.raises(KafkaUnavailable):
        await payloads.read(Source(placed.topic, 0, 99))
