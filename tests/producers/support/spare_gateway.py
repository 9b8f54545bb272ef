"""What of a gateway gives births their topics, without the rest; as a process it prints each conversation that is born.

`python -m tests.producers.support.spare_gateway BOOTSTRAP PREFIX MOST`: one line for each own topic that was used.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

from infra.runtime.clock import SYSTEM, Clock
from infra.runtime.kafka import Appender
from infra.runtime.kafka_settings import KafkaSettings
from infra.runtime.kafka_topics import TopicAdmin
from producers.directory.following import Directory
from producers.publishing.births import Birth, Births
from producers.publishing.kafka_outgoing import KafkaOwnTopics
from producers.publishing.kafka_spares import KafkaSpares
from producers.publishing.layouts import Layout
from producers.publishing.spare_maker import Making, SpareMaker
from schemas import topics
from tests.support.waiting import until

TARGET = 8


class SpareGateway:
    """One of the gateways that share spares."""

    def __init__(
        self, kafka: KafkaSettings, *, most: int, target: int = TARGET, per_s: float = 1000.0, clock: Clock = SYSTEM
    ) -> None:
        self.kafka = kafka
        self.appender = Appender(kafka, "test")
        self.admin = TopicAdmin(kafka, "test")
        self.directory = Directory(kafka)
        self.own = KafkaOwnTopics(self.admin)
        self.spares = KafkaSpares(kafka, self.appender, clock)
        self.births = Births(Layout.ADAPTIVE, self.own, self.spares, clock, most=-(-target // 2))
        making = Making(target=target, most=most, per_s=per_s)
        self.maker = SpareMaker(self.spares, self.own, self.directory, clock, making)

    async def start(self) -> None:
        """Begin to take, and to make if it falls to this one."""
        await self.appender.start()
        await self.directory.start()
        self.births.start()
        self.maker.start()

    async def stop(self) -> None:
        """Leave in good order, as the gateway does."""
        await self.maker.stop()
        await self.births.stop()
        await self.spares.stop()
        await self.directory.stop()
        await self.appender.stop()
        await self.admin.stop()

    async def own_birth(self, *, limit_s: float = 30.0) -> Birth:
        """The next birth that has its own topic."""

        async def ask() -> Birth | None:
            birth = await self.births.birth(None)
            return None if birth.retired else birth

        found = await until(ask, limit_s=limit_s, every_s=0.01)
        assert found is not None
        return found


@contextlib.asynccontextmanager
async def sharing(count: int, kafka: KafkaSettings, *, most: int) -> AsyncIterator[list[SpareGateway]]:
    """So many of them, within the block."""
    gateways = [SpareGateway(kafka, most=most) for _ in range(count)]
    try:
        await asyncio.gather(*(each.start() for each in gateways))
        yield gateways
    finally:
        await asyncio.gather(*(each.stop() for each in gateways))


async def prepared(kafka: KafkaSettings) -> None:
    """The topics that such gateways need."""
    admin = TopicAdmin(kafka, "test")
    names = (topics.KEYS, topics.CONVERSATIONS, topics.DEPLOYMENTS, topics.SPARES)
    await admin.create([topics.TOPICS[name] for name in names])
    await admin.stop()


async def _run(bootstrap: str, prefix: str, most: int) -> None:
    gateway = SpareGateway(settings_of(bootstrap, prefix), most=most)
    await gateway.start()
    while True:
        born = await gateway.own_birth(limit_s=600)
        print(born.conversation, flush=True)


def settings_of(bootstrap: str, prefix: str) -> KafkaSettings:
    """Small topics under the prefix."""
    return KafkaSettings(bootstrap=bootstrap, topic_prefix=prefix, partitions=1, spare_partitions=4)


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], sys.argv[2], int(sys.argv[3])))
