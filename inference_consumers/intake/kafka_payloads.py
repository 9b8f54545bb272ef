"""A dispatch read again from its place, when its payload was not kept in memory."""

from infra.runtime.kafka_log import LogReader
from schemas import codec
from schemas.errors import KafkaUnavailable
from schemas.records import TurnDispatched
from schemas.turns import Source


class KafkaPayloads:
    """See `worker.Payloads`."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    async def read(self, source: Source) -> TurnDispatched:
        """See `worker.Payloads.read`."""
        async for entry in self._reader.read(source.topic, source.partition, source.offset, source.offset + 1):
            record = codec.decode(entry.value or b"null")
            if isinstance(record, TurnDispatched):
                return record
        raise KafkaUnavailable(f"the dispatch at {source} is not there")
