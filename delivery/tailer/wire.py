"""Fetch version 11 by hand, in the shape that an aiokafka connection sends: packed flat, unpacked without a schema.

Source: Kafka protocol guide, Fetch API, version 11.
"""

import struct
from io import BytesIO
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import RequestHeader_v1, ResponseHeader_v0

from delivery.tailer.session import Ask

_API_KEY: Final = 1
_VERSION: Final = 11

_HEAD: Final = struct.Struct(">iiiibii")  # replica, max_wait_ms, min_bytes, max_bytes, isolation, session, epoch
_WANTED: Final = struct.Struct(">iiqqi")  # partition, leader epoch, offset, log start (of followers), max_bytes
_INT: Final = struct.Struct(">i")
_SHORT: Final = struct.Struct(">h")
_ANSWER: Final = struct.Struct(">ihi")  # throttle_ms, error, session
_ROW: Final = struct.Struct(">ihqqq")  # partition, error, high watermark, last stable offset, log start offset
_ABORTED_BYTES: Final = 16
_READ_UNCOMMITTED: Final = 0  # nobody writes transactions (DESIGN.md, "One truth")
_CONSUMER: Final = -1
_UNKNOWN: Final = -1


class Row(NamedTuple):
    """One partition of an answer; `raw` holds record batches, the last one possibly cut off."""

    topic: str
    partition: int
    error: int
    end: int
    raw: bytes


class Answer:
    """A decoded answer."""

    __slots__ = ("error", "rows", "session_id")

    def __init__(self, error: int, session_id: int, rows: list[Row]) -> None:
        self.error = error
        self.session_id = session_id
        self.rows = rows

    @classmethod
    def decode(cls, buffer: BytesIO) -> "Answer":
        """The answer behind the header that was read already."""
        raw = buffer.getvalue()
        at = buffer.tell()
        _throttle_ms, error, session_id = _ANSWER.unpack_from(raw, at)
        at += _ANSWER.size
        rows: list[Row] = []
        (topics,) = _INT.unpack_from(raw, at)
        at += 4
        for _ in range(topics):
            (length,) = _SHORT.unpack_from(raw, at)
            topic = raw[at + 2 : at + 2 + length].decode()
            at += 2 + length
            (partitions,) = _INT.unpack_from(raw, at)
            at += 4
            for _ in range(partitions):
                row, at = _row(raw, at, topic)
                rows.append(row)
        return cls(error, session_id, rows)


def _row(raw: bytes, at: int, topic: str) -> tuple[Row, int]:
    partition, error, end, _stable, _start = _ROW.unpack_from(raw, at)
    at += _ROW.size
    (aborted,) = _INT.unpack_from(raw, at)
    at += 4 + max(aborted, 0) * _ABORTED_BYTES
    at += 4  # preferred read replica: only for clients that name their rack
    (size,) = _INT.unpack_from(raw, at)
    at += 4
    size = max(size, 0)
    return Row(topic, partition, error, end, raw[at : at + size]), at + size


class Fetch:
    """A request, as `AIOKafkaConnection.send` takes it.

    Args:
        ask: what it says of the session.
        max_wait_ms: how long the broker waits for a first byte.
        max_bytes: of the whole answer; one record batch that is larger comes alone.
    """

    API_KEY = _API_KEY
    API_VERSION = _VERSION
    RESPONSE_TYPE = Answer

    def __init__(self, ask: Ask, max_wait_ms: int, max_bytes: int) -> None:
        self._ask = ask
        self._max_wait_ms = max_wait_ms
        self._max_bytes = max_bytes

    def prepare(self, versions: dict[int, tuple[int, int]]) -> "Fetch":
        """Itself. Raises IncompatibleBrokerVersion where version 11 isn't spoken: before Kafka 2.3."""
        lowest, highest = versions.get(_API_KEY, (0, 0))
        if not lowest <= _VERSION <= highest:
            raise IncompatibleBrokerVersion(f"the broker speaks Fetch {lowest} to {highest}, not {_VERSION}")
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> Any:
        """The header before version 12's tagged fields."""
        return RequestHeader_v1(self, correlation_id=correlation_id, client_id=client_id)

    def parse_response_header(self, buffer: BytesIO) -> Any:
        """The answer's header; the buffer then stands behind it."""
        return ResponseHeader_v0.decode(buffer)

    def encode(self) -> bytes:
        """The request's bytes behind the header."""
        ask = self._ask
        head = _HEAD.pack(
            _CONSUMER, self._max_wait_ms, 1, self._max_bytes, _READ_UNCOMMITTED, ask.session_id, ask.epoch
        )
        parts = [head]
        topics = [(name, list(group)) for name, group in groupby(_sorted(ask.wanted), key=lambda one: one.key[0])]
        parts.append(_INT.pack(len(topics)))
        for topic, group in topics:
            parts += (_text(topic), _INT.pack(len(group)))
            parts += [_WANTED.pack(one.key[1], _UNKNOWN, one.offset, _UNKNOWN, one.max_bytes) for one in group]
        gone = [(name, list(keys)) for name, keys in groupby(sorted(ask.forgotten), key=itemgetter(0))]
        parts.append(_INT.pack(len(gone)))
        for topic, keys in gone:
            parts += (_text(topic), _INT.pack(len(keys)))
            parts += [_INT.pack(number) for _, number in keys]
        parts.append(_text(""))  # rack
        return b"".join(parts)


def _sorted(wanted: Any) -> Any:
    return sorted(wanted, key=attrgetter("key")) if len(wanted) > 1 else wanted


def _text(text: str) -> bytes:
    raw = text.encode()
    return _SHORT.pack(len(raw)) + raw
