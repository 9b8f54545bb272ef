"""Kafka as far as the promise needs it: logs, appends on their way, and groups with generations.

Appends of one sender to one topic land in the order of the calls, whenever they like, also after their sender's death.
One that failed may have landed, may land later, or never does; what was sent behind it fails with it and never lands,
which is what `infra.runtime.kafka.Appender` promises.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from inference_consumers.intake.ledger import Commit
from schemas import codec
from schemas.errors import KafkaUnavailable
from tests.simulation.stepping import Ack


@dataclass(slots=True)
class Flight:
    """One append on its way.

    Args:
        record: of the contract, or a row of a changelog.
        knows: the text that the writer believes to lie before it, for deltas and ends.
    """

    record: Any
    ack: Ack
    knows: str | None = None


class Watcher(Protocol):
    """Sees every record as it lands."""

    def landed(self, topic: str, offset: int, record: Any, knows: str | None) -> None:
        """The record is in its topic at this offset."""
        ...


@dataclass(slots=True)
class Group:
    """One consumer group over one partition.

    Args:
        members: counted in, in the order in which they joined.
        commits: what is kept of each topic, whatever the group's life.
    """

    topic: str
    generation: int = 0
    members: list[str] = field(default_factory=list)
    owner: str | None = None
    commits: dict[str, Any] = field(default_factory=dict)

    def moves(self, owner: str | None) -> None:
        """A rebalance: the partition is this member's under the next generation."""
        self.generation += 1
        self.owner = owner

    def loses(self, member: str) -> None:
        """The member is counted out; the first of the others owns the partition if it did."""
        self.members.remove(member)
        heir = self.members[0] if self.members else None
        self.moves(heir if self.owner == member else self.owner)

    def begins_again(self, *, keeps_commits: bool) -> None:
        """The group is lost with everything it counted."""
        self.members.clear()
        self.generation, self.owner = 0, None
        if not keeps_commits:
            self.commits.clear()

    def counts_in(self, member: str, generation: int) -> bool:
        """Whether this member speaks under the present generation."""
        return member in self.members and generation == self.generation


class Broker:
    """All topics, by their names; the conversation log among them. One partition each."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.topics: dict[str, list[Any]] = {}
        self.flights: dict[tuple[str, str], deque[Flight]] = {}
        self._values: dict[str, list[bytes]] = {}
        self.late: dict[str, tuple[str, deque[Flight]]] = {}
        self.groups: dict[str, Group] = {}

    def log(self, topic: str) -> list[Any]:
        """The records of a topic."""
        found = self.topics.get(topic)
        if found is None:
            found = self.topics[topic] = []
        return found

    def values(self, topic: str) -> list[bytes]:
        """The records of a topic as the bytes that its readers get."""
        values, log = self._values.setdefault(topic, []), self.log(topic)
        for record in log[len(values) :]:
            values.append(codec.encode(record))
        return values

    def send(self, sender: str, topic: str, record: Any, knows: str | None = None) -> Ack:
        """Enqueue the record behind all that the sender sent there before."""
        ack = Ack()
        key = (sender, topic)
        queue = self.flights.get(key)
        if queue is None:
            queue = self.flights[key] = deque()
        queue.append(Flight(record, ack, knows))
        return ack

    def append(self, topic: str, record: Any, knows: str | None = None) -> int:
        """The record is in its topic."""
        log = self.log(topic)
        log.append(record)
        self._watcher.landed(topic, len(log) - 1, record, knows)
        return len(log) - 1

    def flying(self, sender: str) -> list[str]:
        """Topics to which something of this sender's is on its way."""
        return [topic for (name, topic), queue in self.flights.items() if queue and name == sender]

    def lands(self, sender: str, topic: str) -> None:
        """The sender's next append lands and is acknowledged."""
        flight = self._next(sender, topic)
        flight.ack.set_result(self.append(topic, flight.record, flight.knows))

    def lands_twice(self, sender: str, topic: str) -> None:
        """It was sent again although it had landed: a copy follows whenever it likes."""
        flight = self._next(sender, topic)
        self._delay(sender, topic, deque((Flight(flight.record, Ack(), flight.knows),)))
        flight.ack.set_result(self.append(topic, flight.record, flight.knows))

    def fails(self, sender: str, topic: str, how: str) -> None:
        """The sender gives the append up, and with it what it sent behind.

        Args:
            how: `lost` for good, `late` for one that lands later if at all, `unheard` for one that has landed.
        """
        first, *others = self.flights.pop((sender, topic))
        if how == "late":
            self._delay(sender, topic, deque((first,)))
        elif how == "unheard":
            self.append(topic, first.record, first.knows)
        for flight in (first, *others):
            flight.ack.set_exception(KafkaUnavailable(how))

    def orphan(self, sender: str) -> None:
        """The sender is gone; what it sent lands when it likes, or no more."""
        for name, topic in list(self.flights):
            if name == sender:
                self._delay(sender, topic, self.flights.pop((sender, topic)))

    def lands_late(self, name: str) -> None:
        """The first of these late appends lands; nobody hears of it."""
        topic, queue = self.late[name]
        flight = queue.popleft()
        if not queue:
            del self.late[name]
        self.append(topic, flight.record, flight.knows)

    def vanishes(self, name: str) -> None:
        """None of these late appends will land any more."""
        del self.late[name]

    def _next(self, sender: str, topic: str) -> Flight:
        key = (sender, topic)
        queue = self.flights[key]
        flight = queue.popleft()
        if not queue:
            del self.flights[key]
        return flight

    def _delay(self, sender: str, topic: str, flights: deque[Flight]) -> None:
        name = f"{sender} {topic}"
        while name in self.late:
            name += "'"
        self.late[name] = (topic, flights)


def kept(group: Group) -> Commit | None:
    """The commit of a pool's group."""
    found: Commit | None = group.commits.get(group.topic)
    return found
