"""One table: values by partition and key, safe in Kafka before they count, and in a local store after.

faust gives the group, the recovery and the store; its own way of writing is not used: it commits inputs without waiting
for the changelog, and tells a failed send only to its log. Here a write is visible to this process at once, its future
is done when the changelog has acknowledged it, and only then does the local store learn of it: what a crash leaves
there is never ahead of the changelog.
"""

import asyncio
import functools
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from infra.runtime.kafka import Placed
from infra.runtime.kafka_log import Entry
from schemas.errors import DependencyError, InvariantBroken
from stream_processors.enrichment.fencing import Stamp, body, null_generation, read_stamp, stamped

log = logging.getLogger(__name__)

_BACKOFF_S: Final = 0.2
# How far the local store's own place may lie behind: so much more is read again after a crash.
_OFFSET_EVERY: Final = 256

Send = Callable[[int, bytes, bytes | None, int], Awaitable["asyncio.Future[Placed]"]]
"""Enqueue (partition, key, value, generation); in order of the calls. The generation fences a null value."""


class PartitionStore(Protocol):
    """The local store: a copy of the changelog's prefix, one database a partition."""

    def get(self, partition: int, key: bytes) -> bytes | None:
        """The value, None without one."""
        ...

    def put(self, partition: int, key: bytes, value: bytes | None) -> None:
        """The key has this value; None: it has none."""
        ...

    def put_offset(self, partition: int, offset: int) -> None:
        """The store holds all up to and with this offset of the changelog."""
        ...

    def items(self, partition: int, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys and values in order, from `first` on."""
        ...


@dataclass(slots=True)
class _Pending:
    """A key's newest value that the changelog hasn't acknowledged.

    Args:
        behind: what must be safe before this is sent.
    """

    partition: int
    version: int
    value: bytes | None
    generation: int
    sent: int = 0
    waiters: list[tuple[int, "asyncio.Future[None]"]] = field(default_factory=list)
    behind: list["asyncio.Future[None]"] = field(default_factory=list)

    def waits_for(self) -> "asyncio.Future[None] | None":
        """The first thing that is not safe yet."""
        return next((each for each in self.behind if not each.done()), None)


class Changelog:
    """See the module.

    Args:
        name: for logs.
        on_lost: called with an error that no retry can mend: the process must end.
    """

    def __init__(self, name: str, send: Send, store: PartitionStore, on_lost: Callable[[BaseException], None]) -> None:
        self.name = name
        self._send = send
        self._store = store
        self._on_lost = on_lost
        self._pending: dict[tuple[int, bytes], _Pending] = {}
        self._outbox: deque[tuple[int, bytes]] = deque()
        self._sender: asyncio.Task[None] | None = None
        self._versions = itertools.count(1)
        self._expected: dict[int, int] = {}
        self._foreign: dict[int, int] = {}
        self._gaps: dict[int, int] = {}  # where the last of others' records ends that was met
        self._since_offset: dict[int, int] = {}
        self._again: dict[int, set[bytes]] = {}

    # --- reading and writing ------------------------------------------------------------------------------------------

    def read(self, partition: int, key: bytes) -> bytes | None:
        """The body of the key's newest value in this process, acknowledged or not."""
        value = self._value(partition, key)
        return None if value is None else body(value)

    def write(
        self,
        partition: int,
        key: bytes,
        content: bytes | None,
        *,
        generation: int,
        due_ms: int = 0,
        behind: "Sequence[asyncio.Future[None]]" = (),
    ) -> "asyncio.Future[None]":
        """The key has this content from now on; the future is done when that is safe. Never fails, retries for ever.

        Args:
            behind: writes of other tables that this content speaks of: no crash leaves it safe without them.
        """
        pending = self._pend(partition, key, content, generation, due_ms)
        pending.behind = [*(each for each in pending.behind if not each.done()), *behind]
        future = self._future()
        pending.waiters.append((pending.version, future))
        self._offer(partition, key)
        return future

    def _future(self) -> "asyncio.Future[None]":
        return asyncio.get_running_loop().create_future()

    def _offer(self, partition: int, key: bytes) -> None:
        """Send the key's newest value, as soon as all is safe that it speaks of."""
        pending = self._pending.get((partition, key))
        before = None if pending is None else pending.waits_for()
        if before is not None:
            before.add_done_callback(lambda _done: self._offer(partition, key))
        elif pending is not None and pending.sent != pending.version:
            self._hand_over(partition, key)

    def _hand_over(self, partition: int, key: bytes) -> None:
        self._outbox.append((partition, key))
        if self._sender is None:
            self._sender = asyncio.ensure_future(self._send_all())

    def _pend(self, partition: int, key: bytes, content: bytes | None, generation: int, due_ms: int) -> _Pending:
        """The key has this content for whoever reads; it is still to be sent."""
        version = next(self._versions)
        value = None if content is None else stamped(Stamp(generation, version, due_ms), content)
        pending = self._pending.get((partition, key))
        if pending is None:
            pending = self._pending[partition, key] = _Pending(partition, version, value, generation)
        else:
            pending.version, pending.value, pending.generation = version, value, generation
        return pending

    def is_written_under(self, partition: int, key: bytes, generation: int) -> bool:
        """Whether the key's value is a writer's of this generation: no older one's counts against it any more."""
        value = self._value(partition, key)
        return value is not None and read_stamp(value).generation == generation

    def keys(self, partition: int, prefix: bytes) -> list[bytes]:
        """The stored keys that begin so, with those under way."""
        found: list[bytes] = []
        for key, _ in self._store.items(partition, prefix):
            if not key.startswith(prefix):
                break
            found.append(key)
        found += [key for at, key in self._pending if at == partition and key.startswith(prefix)]
        return list(dict.fromkeys(found))

    def stamps(self, partition: int) -> Iterator[tuple[bytes, Stamp]]:
        """All stored keys with their stamps."""
        for key, value in self._store.items(partition):
            yield key, read_stamp(value)

    def _value(self, partition: int, key: bytes) -> bytes | None:
        pending = self._pending.get((partition, key))
        return pending.value if pending is not None else self._store.get(partition, key)

    async def _send_all(self) -> None:
        """Hand the outbox to the producer, in order. One task at a time."""
        try:
            while self._outbox:
                partition, key = self._outbox.popleft()
                pending = self._pending.get((partition, key))
                if pending is None or pending.sent == pending.version or pending.waits_for() is not None:
                    continue  # the key's newest value is on its way, or acknowledged, or will be offered again
                await self._send_one(partition, key, pending)
        except Exception as error:  # noqa: BLE001 - what no retry mends ends the process
            self._on_lost(error)
        finally:
            self._sender = None

    async def _send_one(self, partition: int, key: bytes, pending: _Pending) -> None:
        while pending.waits_for() is None:  # else a younger value took its place, and will be offered again
            version = pending.sent = pending.version
            try:
                sent = await self._send(partition, key, pending.value, pending.generation)
            except DependencyError as error:
                log.warning("%s: %s; trying again", self.name, error)
                await asyncio.sleep(_BACKOFF_S)
                continue
            sent.add_done_callback(functools.partial(self._settle, partition, key, version))
            return

    def _settle(self, partition: int, key: bytes, version: int, done: "asyncio.Future[Placed]") -> None:
        pending = self._pending.get((partition, key))
        error = None if done.cancelled() else done.exception()
        if done.cancelled() or isinstance(error, DependencyError):
            # Else a later write is on its way, and stands for this one.
            if pending is not None and pending.version == version:
                pending.sent = 0
                log.warning("%s: %s; writing again", self.name, error)
                asyncio.get_running_loop().call_later(_BACKOFF_S, self._offer, partition, key)
            return
        if error is not None:
            self._on_lost(error)
            return
        self._count(partition, done.result().offset)
        if pending is not None:
            self._acknowledged(partition, key, version, pending)

    def _count(self, partition: int, offset: int) -> None:
        expected = self._expected.get(partition)
        if expected is None:
            return  # it went to somebody else meanwhile
        if offset != expected:
            # Somebody else wrote here: our own copy's place stays where it is, and `inspect` looks at what it was.
            self._foreign.setdefault(partition, expected)
            self._gaps[partition] = offset
        self._expected[partition] = max(expected, offset + 1)

    def _acknowledged(self, partition: int, key: bytes, version: int, pending: _Pending) -> None:
        if pending.version == version:
            self._store.put(partition, key, pending.value)
            del self._pending[partition, key]
        due = [waiter for waiter in pending.waiters if waiter[0] <= version]
        pending.waiters = [waiter for waiter in pending.waiters if waiter[0] > version]
        count = self._since_offset.get(partition, 0) + 1
        if count >= _OFFSET_EVERY and not any(at == partition for at, _ in self._pending):
            count = 0
            self.save_place(partition)
        self._since_offset[partition] = count
        for _, future in due:
            if not future.done():
                future.set_result(None)

    def save_place(self, partition: int) -> None:
        """The local store knows how far it goes, if all before is its own and nothing is under way."""
        is_quiet = not any(at == partition for at, _ in self._pending)
        if is_quiet and partition not in self._foreign and partition in self._expected:
            self._store.put_offset(partition, self._expected[partition] - 1)

    # --- recovery -----------------------------------------------------------------------------------------------------

    def recover(self, partition: int, entries: Iterable[tuple[int, bytes, bytes | None, int]]) -> None:
        """Take records of the changelog into the local store: (offset, key, value, generation of a null value).

        A lower writer's record behind a higher one's is dropped, and the good value will be written again.
        """
        highest = -1
        for offset, key, value, generation in entries:
            highest = max(highest, offset)
            before = self._store.get(partition, key)
            if before is not None:
                stood = read_stamp(before)
                came = Stamp(generation, stood.version, 0) if value is None else read_stamp(value)
                if came.is_below(stood):
                    self._again.setdefault(partition, set()).add(key)
                    continue
                self._again.get(partition, set()).discard(key)
            self._store.put(partition, key, value)
        if highest >= 0:
            self._store.put_offset(partition, highest)

    def opened(self, partition: int, end: int, generation: int) -> list["asyncio.Future[None]"]:
        """This process owns the partition, recovered up to `end`: what a zombie overwrote is written again."""
        for at, key in list(self._pending):
            if at == partition:
                raise InvariantBroken(f"{self.name}: {key!r} was still under way when partition {partition} came")
        self._expected[partition] = end
        self._foreign.pop(partition, None)
        written = []
        for key in sorted(self._again.pop(partition, set())):
            written.append(self._write_again(partition, key, generation))
        return written

    def closed(self, partition: int) -> None:
        """The partition went to somebody else: what is still under way is the new owner's to decide."""
        self.save_place(partition)
        for place in [place for place in self._pending if place[0] == partition]:
            for _, future in self._pending.pop(place).waiters:
                future.cancel()
        self._expected.pop(partition, None)
        self._foreign.pop(partition, None)

    def inspect(
        self, partition: int, entries: Sequence[Entry], generation: int, adopts: Callable[[int, bytes], bool]
    ) -> list["asyncio.Future[None]"]:
        """Look at what lies in the changelog since the last look: a zombie's record of a key is answered by ours.

        Compaction keeps the last record of a key; within `min.compaction.lag.ms` ours must be the last again. Where a
        higher writer's record lies we are the zombie: nothing is answered, and the local store's place stays before it,
        or who recovers from that store would miss what the successor wrote.

        Args:
            adopts: whether a zombie's value of a key for which we have none becomes ours; else a null answers it.
        """
        if any(_generation(entry) > generation for entry in entries):
            self._foreign.setdefault(partition, entries[0].offset)
            return []
        written = []
        for key, entry in {entry.key: entry for entry in entries if entry.key is not None}.items():
            if _generation(entry) == generation:
                continue  # our own, perhaps with a younger one behind it
            ours = self._value(partition, key)
            if ours is None and entry.value is not None and adopts(partition, key):
                self._store.put(partition, key, entry.value)
            elif _is_foreign(entry, ours):
                written.append(self._write_again(partition, key, generation))
        looked_to = entries[-1].offset + 1 if entries else 0
        if self._gaps.get(partition, 0) > looked_to:
            self._foreign[partition] = looked_to  # more came while these were read
        else:
            self._foreign.pop(partition, None)
        return written

    def foreign_since(self, partition: int, end: int) -> int | None:
        """Where records that aren't ours may lie, given the changelog's end; None when all are ours."""
        first = self._foreign.get(partition)
        if first is not None:
            return first
        expected = self._expected.get(partition)
        is_quiet = not any(at == partition for at, _ in self._pending)
        return expected if expected is not None and is_quiet and end > expected else None

    def accounted(self, partition: int, end: int) -> None:
        """All below `end` was looked at."""
        self._expected[partition] = max(self._expected.get(partition, 0), end)

    def _write_again(self, partition: int, key: bytes, generation: int) -> "asyncio.Future[None]":
        value = self._value(partition, key)
        if value is None:
            return self.write(partition, key, None, generation=generation)
        return self.write(partition, key, body(value), generation=generation, due_ms=read_stamp(value).due_ms)

    async def stop(self) -> None:
        """Wait for nothing: what isn't acknowledged is done again from its input."""
        if self._sender is not None:
            self._sender.cancel()


def _is_foreign(entry: Entry, ours: bytes | None) -> bool:
    """Whether a key's last record is not what we hold."""
    if entry.value is None or ours is None:
        return entry.value is not None or ours is not None
    return read_stamp(entry.value).is_below(read_stamp(ours))


def _generation(entry: Entry) -> int:
    """Of whoever wrote the record."""
    return null_generation(entry.headers) if entry.value is None else read_stamp(entry.value).generation
