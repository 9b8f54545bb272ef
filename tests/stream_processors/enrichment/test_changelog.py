"""The changelog's own order of things, on a memory store and a log that fails at will."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.runtime.kafka import Placed
from infra.runtime.kafka_log import Entry
from schemas.errors import KafkaUnavailable
from stream_processors.enrichment.changelog import Changelog
from stream_processors.enrichment.fencing import GENERATION_HEADER, Stamp, body, read_stamp, stamped


@dataclass
class MemoryStore:
    values: dict[bytes, bytes] = field(default_factory=dict)
    offset: int = -1

    def get(self, partition: int, key: bytes) -> bytes | None:
        return self.values.get(key)

    def put(self, partition: int, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.values.pop(key, None)
        else:
            self.values[key] = value

    def put_offset(self, partition: int, offset: int) -> None:
        self.offset = offset

    def items(self, partition: int, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        yield from ((key, value) for key, value in sorted(self.values.items()) if key >= first)


class FakeLog:
    """Acknowledges when told; `failures` sends fail first."""

    def __init__(self, failures: int = 0) -> None:
        self.records: list[tuple[bytes, bytes | None]] = []
        self.waiting: list[tuple[asyncio.Future[Placed], int]] = []
        self.failures = failures
        self.holds = False

    async def send(self, partition: int, key: bytes, value: bytes | None, generation: int) -> asyncio.Future[Placed]:
        future: asyncio.Future[Placed] = asyncio.get_running_loop().create_future()
        if self.failures:
            self.failures -= 1
            future.set_exception(KafkaUnavailable("away"))
            return future
        self.records.append((key, value))
        place = len(self.records) - 1
        if self.holds:
            self.waiting.append((future, place))
        else:
            future.set_result(Placed("c", partition, place))
        return future

    def release(self) -> None:
        for future, place in self.waiting:
            future.set_result(Placed("c", 0, place))
        self.waiting.clear()


def _nothing(_partition: int, _key: bytes) -> bool:
    return False


def _changelog(log: FakeLog, store: MemoryStore) -> Changelog:
    def lost(error: BaseException) -> None:
        raise error

    changelog = Changelog("c", log.send, store, lost)
    changelog.opened(0, 0, 1)
    return changelog


async def test_the_store_learns_only_what_is_acknowledged() -> None:
    """A write is read at once, but the local store has it, and its future is done, only after the changelog's ack."""
    log, store = FakeLog(), MemoryStore()
    log.holds = True
    changelog = _changelog(log, store)
    written = changelog.write(0, b"k", b"one", generation=1)
    assert changelog.read(0, b"k") == b"one"
    await asyncio.sleep(0)
    assert not written.done()
    assert store.values == {}
    log.release()
    await written
    assert body(store.values[b"k"]) == b"one"
    changelog.save_place(0)
    assert store.offset == 0


async def test_failed_writes_are_sent_again() -> None:
    """A send that fails for the moment is repeated until it is acknowledged; the newest value of the key wins."""
    log, store = FakeLog(failures=2), MemoryStore()
    changelog = _changelog(log, store)
    first = changelog.write(0, b"k", b"one", generation=1)
    second = changelog.write(0, b"k", b"two", generation=1)
    async with asyncio.timeout(5):
        await first
        await second
    assert body(store.values[b"k"]) == b"two"
    assert [body(value or b"") for _, value in log.records][-1] == b"two"


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=12))
def test_recovery_keeps_the_highest_writer(stamps: list[tuple[int, int]]) -> None:
    """In whatever order records of a key lie in the changelog, the highest generation and version stands."""
    store = MemoryStore()
    changelog = Changelog("c", FakeLog().send, store, lambda _error: None)
    rows = [
        (offset, b"k", stamped(Stamp(generation, version, 0), b"%d" % offset), 0)
        for offset, (generation, version) in enumerate(stamps)
    ]
    changelog.recover(0, rows)
    assert read_stamp(store.values[b"k"]) == Stamp(*max(stamps), 0)
    assert store.offset == len(stamps) - 1


async def test_a_zombies_record_is_written_over() -> None:
    """A lower writer's value or tombstone behind a higher one's is dropped, and the good value is written again."""
    log, store = FakeLog(), MemoryStore()
    changelog = Changelog("c", log.send, store, lambda _error: None)
    good = stamped(Stamp(5, 1, 0), b"good")
    changelog.recover(0, [(0, b"k", good, 0), (1, b"k", stamped(Stamp(4, 9, 0), b"bad"), 0), (2, b"k", None, 4)])
    assert body(store.values[b"k"]) == b"good"
    await asyncio.gather(*changelog.opened(0, 3, 6))
    [(key, value)] = log.records
    assert (key, body(value or b""), read_stamp(value or b"").generation) == (b"k", b"good", 6)


async def test_foreign_records_are_noticed_while_we_own_the_partition() -> None:
    """A gap in our own offsets, or an end above them, is somebody else's record: the local place stays behind it."""
    log, store = FakeLog(), MemoryStore()
    changelog = _changelog(log, store)
    await changelog.write(0, b"k", b"one", generation=5)
    assert changelog.foreign_since(0, 1) is None
    assert changelog.foreign_since(0, 2) == 1
    log.records.append((b"k", stamped(Stamp(4, 1, 0), b"bad")))
    await changelog.write(0, b"other", b"x", generation=5)
    changelog.save_place(0)
    assert store.offset == -1
    assert changelog.foreign_since(0, 3) == 1
    entries = [Entry(1, 0, *log.records[1]), Entry(2, 0, *log.records[2])]
    await asyncio.gather(*changelog.inspect(0, entries, 5, _nothing))
    assert body(log.records[-1][1] or b"") == b"one"
    assert len(log.records) == 4


async def test_a_zombie_that_looks_skips_nothing_of_its_successor() -> None:
    """A higher writer's record is not answered, and who recovers from the zombie's local store reads it."""
    log, store = FakeLog(), MemoryStore()
    changelog = _changelog(log, store)
    await changelog.write(0, b"k", b"one", generation=5)
    log.records.append((b"k", stamped(Stamp(6, 1, 0), b"two")))
    first = changelog.foreign_since(0, 2)
    assert first == 1
    assert changelog.inspect(0, [Entry(1, 0, *log.records[1])], 5, _nothing) == []
    changelog.accounted(0, 2)
    changelog.closed(0)
    assert store.offset < 1, "recovery begins before the successor's record"
    assert len(log.records) == 2


async def test_what_comes_while_a_look_reads_is_looked_at_next() -> None:
    """A look accounts for what it has read, not for a record that a zombie wrote meanwhile."""
    log, store = FakeLog(), MemoryStore()
    changelog = _changelog(log, store)
    await changelog.write(0, b"k", b"one", generation=5)
    log.records.append((b"other", stamped(Stamp(4, 1, 0), b"bad")))
    read = [Entry(1, 0, *log.records[1])]
    log.records.append((b"k", stamped(Stamp(4, 2, 0), b"worse")))
    await changelog.write(0, b"mine", b"x", generation=5)
    await asyncio.gather(*changelog.inspect(0, read, 5, _nothing))
    changelog.accounted(0, 2)
    assert changelog.foreign_since(0, len(log.records)) == 2


async def test_our_own_older_record_is_not_answered() -> None:
    """While a look reads, a key may be written again: nobody has written over it."""
    log, store = FakeLog(), MemoryStore()
    changelog = _changelog(log, store)
    await changelog.write(0, b"k", b"one", generation=5)
    await changelog.write(0, b"k", b"two", generation=5)
    assert changelog.inspect(0, [Entry(0, 0, *log.records[0])], 5, _nothing) == []


async def test_a_zombie_does_not_answer_its_successors_null() -> None:
    """A null value bears its writer's generation as well: what the successor erased stays erased."""
    log, store = FakeLog(), MemoryStore()
    changelog = _changelog(log, store)
    await changelog.write(0, b"k", b"one", generation=5)
    null = Entry(1, 0, b"k", None, ((GENERATION_HEADER, b"6"),))
    assert changelog.inspect(0, [null], 5, _nothing) == []
    assert len(log.records) == 1
    await asyncio.gather(*changelog.inspect(0, [null], 7, _nothing))
    assert body(log.records[-1][1] or b"") == b"one", "an older writer's null is answered"


@pytest.mark.parametrize("adopts", [True, False])
async def test_a_zombies_value_of_an_unknown_key_is_adopted_or_erased(adopts: bool) -> None:
    """Where we hold nothing the zombie's value becomes ours if we say so, and is else answered by a null."""
    log, store = FakeLog(), MemoryStore()
    changelog = _changelog(log, store)
    theirs = stamped(Stamp(4, 1, 0), b"theirs")
    await asyncio.gather(*changelog.inspect(0, [Entry(0, 0, b"k", theirs)], 5, lambda _partition, _key: adopts))
    assert changelog.read(0, b"k") == (b"theirs" if adopts else None)
    assert [value for _, value in log.records] == ([] if adopts else [None])


async def test_a_value_waits_for_what_it_speaks_of() -> None:
    """It is read at once and sent only when the other is safe; a younger value of its key waits for that as well."""
    log, store = FakeLog(), MemoryStore()
    changelog = _changelog(log, store)
    entry: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    first = changelog.write(0, b"k", b"one", generation=1, behind=[entry])
    second = changelog.write(0, b"k", b"two", generation=1)
    await changelog.write(0, b"other", b"x", generation=1)
    assert changelog.read(0, b"k") == b"two"
    assert [key for key, _ in log.records] == [b"other"]
    entry.set_result(None)
    async with asyncio.timeout(5):
        await asyncio.gather(first, second)
    assert [key for key, _ in log.records] == [b"other", b"k"]


async def test_a_value_that_is_tried_again_waits_for_what_a_younger_one_speaks_of() -> None:
    """While a send fails a younger value may come that must wait: the retry doesn't send it early."""
    log, store = FakeLog(failures=1), MemoryStore()
    changelog = _changelog(log, store)
    entry: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    first = changelog.write(0, b"k", b"one", generation=1)
    await asyncio.sleep(0)
    second = changelog.write(0, b"k", b"two", generation=1, behind=[entry])
    async with asyncio.timeout(5):
        await changelog.write(0, b"other", b"x", generation=1)
        assert [key for key, _ in log.records] == [b"other"]
        entry.set_result(None)
        await asyncio.gather(first, second)
    assert [key for key, _ in log.records] == [b"other", b"k"]


async def test_what_no_retry_mends_is_told() -> None:
    """A bug while writing is handed on: the process must end."""
    told: list[BaseException] = []

    async def broken(partition: int, key: bytes, value: bytes | None, generation: int) -> asyncio.Future[Placed]:
        raise ValueError("a bug")

    changelog = Changelog("c", broken, MemoryStore(), told.append)
    changelog.opened(0, 0, 1)
    changelog.write(0, b"k", b"one", generation=1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [type(error) for error in told] == [ValueError]


async def test_prefixes_find_stored_and_pending_keys() -> None:
    """All keys of a conversation are found, those under way as well."""
    log, store = FakeLog(), MemoryStore()
    changelog = _changelog(log, store)
    await changelog.write(0, b"resp_a1", b"x", generation=1)
    log.holds = True
    changelog.write(0, b"resp_a2", b"x", generation=1)
    changelog.write(0, b"resp_b1", b"x", generation=1)
    assert changelog.keys(0, b"resp_a") == [b"resp_a1", b"resp_a2"]


@pytest.mark.parametrize("count", [300])
async def test_the_place_is_saved_now_and_then(count: int) -> None:
    """The local store's own place follows, so that little is read again after a crash."""
    log, store = FakeLog(), MemoryStore()
    changelog = _changelog(log, store)
    for number in range(count):
        await changelog.write(0, b"%d" % number, b"x", generation=1)
    assert store.offset >= 255
