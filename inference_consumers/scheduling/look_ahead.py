"""Who is started next: bands by priority, inside a band the least served tenant, inside a tenant the order of arrival.

Pure. It holds the turns that wait and counts the service of those that run; the shell asks it whenever a slot is free.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from inference_consumers.scheduling.counters import TokenCounters
from inference_consumers.scheduling.entry import Entry
from schemas.ids import TurnId
from schemas.turns import Source

_FORGET_AT: Final = 10_000  # arrivals after which the counters of idle tenants are dropped


@dataclass(slots=True)
class _Band:
    """Turns of one priority that wait, by tenant in the order of arrival."""

    waiting: dict[str, dict[Source, Entry]] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    counters: TokenCounters = field(default_factory=TokenCounters)

    def active(self, *, without: str | None = None) -> Iterator[str]:
        for tenant in self.waiting.keys() | self.running.keys():
            if tenant != without:
                yield tenant

    def enter(self, tenant: str) -> None:
        if tenant not in self.waiting and tenant not in self.running:
            self.counters.enter(tenant, self.active(without=tenant))

    def leave(self, tenant: str) -> None:
        if tenant not in self.waiting and tenant not in self.running:
            self.counters.leave(tenant, self.active())


@dataclass(slots=True)
class LookAhead:
    """The turns that wait in this worker. A source is in it once."""

    _bands: dict[int, _Band] = field(default_factory=dict)
    _entries: dict[Source, Entry] = field(default_factory=dict)
    _deadlines: list[tuple[int, int, Source]] = field(default_factory=list)
    _arrivals: int = 0

    def __len__(self) -> int:
        """Turns that wait."""
        return len(self._entries)

    def __contains__(self, source: Source) -> bool:
        """True while the source waits."""
        return source in self._entries

    def add(self, entry: Entry) -> None:
        """A turn arrived."""
        band = self._bands.setdefault(entry.priority, _Band())
        band.enter(entry.tenant)
        band.waiting.setdefault(entry.tenant, {})[entry.source] = entry
        self._entries[entry.source] = entry
        heapq.heappush(self._deadlines, (entry.deadline_ms, self._arrivals, entry.source))
        self._arrivals += 1
        if self._arrivals % _FORGET_AT == 0:
            band.counters.forget(band.active())

    def remove(self, source: Source) -> Entry | None:
        """Take a turn out that is not to be started; None when it doesn't wait."""
        entry = self._entries.pop(source, None)
        if entry is not None:
            band = self._bands[entry.priority]
            self._unqueue(band, entry)
            band.leave(entry.tenant)
        return entry

    def next(self) -> Entry | None:
        """Take out the turn to start now and charge its prompt; None when nothing waits.

        The prompt is charged here, not when it is read: else all free slots would go to one tenant in one go.
        """
        for _priority, band in sorted(self._bands.items()):
            if not band.waiting:
                continue
            # Equal service: who waits longest, so that restarts and ties follow arrival.
            tenant = min(band.waiting, key=lambda name: (band.counters.service(name), _first(band.waiting[name])))
            entry = next(iter(band.waiting[tenant].values()))
            del self._entries[entry.source]
            self._unqueue(band, entry)
            band.running[tenant] = band.running.get(tenant, 0) + 1
            band.counters.charge(tenant, entry.weight, prompt_tokens=entry.cost_tokens)
            return entry
        return None

    def charge(self, entry: Entry, *, prompt_tokens: int = 0, generated_tokens: int = 0) -> None:
        """Count service of a turn that `next` gave out."""
        counters = self._bands[entry.priority].counters
        counters.charge(entry.tenant, entry.weight, prompt_tokens=prompt_tokens, generated_tokens=generated_tokens)

    def done(self, entry: Entry) -> None:
        """A turn that `next` gave out has left the engine."""
        band = self._bands[entry.priority]
        left = band.running.get(entry.tenant, 0) - 1
        if left > 0:
            band.running[entry.tenant] = left
        else:
            band.running.pop(entry.tenant, None)
            band.leave(entry.tenant)

    def overdue(self, now_ms: int) -> list[Entry]:
        """Take out all turns whose deadline has passed."""
        due: list[Entry] = []
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            _deadline, _arrival, source = heapq.heappop(self._deadlines)
            entry = self.remove(source)
            if entry is not None:
                due.append(entry)
        return due

    @property
    def next_deadline_ms(self) -> int | None:
        """When the next of them is overdue; None when nothing waits."""
        while self._deadlines and self._deadlines[0][2] not in self._entries:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def of_turn(self, turn: TurnId) -> list[Entry]:
        """The sources of this turn that wait."""
        return [entry for entry in self._entries.values() if entry.turn == turn]

    def lowest_of(self, topic: str, partition: int, count: int) -> list[Entry]:
        """The first waiting ones of a partition, by offset."""
        there = (e for e in self._entries.values() if e.source.partition == partition and e.source.topic == topic)
        return heapq.nsmallest(count, there, key=lambda entry: entry.source.offset)

    def drop(self, topic: str, partitions: Iterable[int]) -> None:
        """Forget what waits of these partitions: they are somebody else's now."""
        gone = set(partitions)
        for source in [s for s in self._entries if s.topic == topic and s.partition in gone]:
            self.remove(source)

    def service(self, tenant: str, priority: int = 0) -> float:
        """What the tenant has had in a band, for tests and benchmarks."""
        return self._bands[priority].counters.service(tenant) if priority in self._bands else 0.0

    def _unqueue(self, band: _Band, entry: Entry) -> None:
        queue = band.waiting[entry.tenant]
        del queue[entry.source]
        if not queue:
            del band.waiting[entry.tenant]


def _first(queue: dict[Source, Entry]) -> tuple[int, int, int]:
    entry = next(iter(queue.values()))
    return entry.dispatched_ms, entry.source.partition, entry.source.offset
