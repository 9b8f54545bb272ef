"""One member of a pool's consumer group on aiokafka: joins, polls, seeks, commits under its generation, leaves.

aiokafka commits under whatever generation it has at the moment of sending; here a commit names the one under which it
was made, so that the broker refuses a late one. The few private names of aiokafka that this needs are met here alone.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest

from inference_consumers.intake.ledger import Commit
from infra.runtime.kafka import KafkaSettings
from infra.runtime.kafka_client import translated
from schemas.errors import KafkaUnavailable

# Work never runs inside the poll loop, and a full look-ahead doesn't poll at all: only heartbeats tell who is alive.
_MAX_POLL_INTERVAL_MS: Final = 24 * 3600 * 1000
# A freshly assigned partition isn't in the fetch under way: it waits at most that long for its first records.
_FETCH_WAIT_MS: Final = 100
_REFUSED: Final = (
    kafka_errors.UnknownMemberIdError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.RebalanceInProgressError,
)


class PartitionAlarm(Exception):
    """The place where a partition should be read on is not in its log: a person must look.

    Args:
        partitions: with the offsets that are out of range.
    """

    def __init__(self, partitions: Mapping[int, int]) -> None:
        super().__init__(f"offsets out of range: {dict(partitions)}")
        self.partitions = partitions


@dataclass(frozen=True, slots=True)
class Fetched:
    """One record of the pool's topic."""

    partition: int
    offset: int
    value: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTimes:
    """How fast a dead member is noticed and a rebalance is done, in ms."""

    session_ms: int
    heartbeat_ms: int


class GroupMember:
    """A dynamic member: a static one would not say that it leaves (and others would wait for its session to end).

    Args:
        topic: without the prefix.
        group: without the prefix.
        on_revoked: a rebalance begins; given the generation, 0 or less when the group has expelled us. Awaited before
            joining again.
        on_assigned: it has ended; given the generation and our partitions. What it returns is sought at once: the
            offsets of kept partitions; the others are paused until `begin`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        group: str,
        times: GroupTimes,
        *,
        on_revoked: Callable[[int], Awaitable[None]],
        on_assigned: Callable[[int, frozenset[int]], Awaitable[Mapping[int, int]]],
    ) -> None:
        self._topic = settings.named(topic)
        self._group = settings.named(group)
        self._on_revoked = on_revoked
        self._on_assigned = on_assigned
        self._consumer = AIOKafkaConsumer(
            **settings.client_options(f"parley-{group}"),
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=times.session_ms,
            heartbeat_interval_ms=times.heartbeat_ms,
            # As long as a session: who doesn't join again within it is gone anyway.
            rebalance_timeout_ms=times.session_ms,
            max_poll_interval_ms=_MAX_POLL_INTERVAL_MS,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            partition_assignment_strategy=(StickyPartitionAssignor,),
        )
        self._consumer.subscribe([self._topic], listener=_Listener(self))

    async def start(self) -> None:
        """Join the group; returns with the first assignment. Raises KafkaUnavailable."""
        with translated(f"join {self._group}"):
            await self._consumer.start()

    async def stop(self) -> None:
        """Leave the group at once: others get the partitions without waiting for the session to end."""
        with translated(f"leave {self._group}"):
            await self._consumer.stop()

    @property
    def generation(self) -> int:
        """Of the group, as this member knows it; 0 or less = not a member."""
        return int(self._coordinator.generation)

    @property
    def is_broken(self) -> bool:
        """True when aiokafka has given up: make a new member."""
        return bool(self._coordinator._coordination_task.done())  # noqa: SLF001

    async def poll(self, most: int, timeout_s: float) -> list[Fetched]:
        """The next records, at most so many, in order within a partition.

        Raises:
            PartitionAlarm: a place isn't in the log.
            KafkaUnavailable: the group or a broker is in trouble; poll again.
        """
        with translated(f"poll {self._topic}"):
            batches = await self._getmany(most, timeout_s)
        return [
            Fetched(place.partition, record.offset, record.value)
            for place, records in batches.items()
            for record in records
        ]

    async def _getmany(self, most: int, timeout_s: float) -> Mapping[TopicPartition, list[Any]]:
        try:
            found: Mapping[TopicPartition, list[Any]] = await self._consumer.getmany(
                timeout_ms=int(timeout_s * 1000), max_records=most
            )
        except kafka_errors.NoOffsetForPartitionError:
            return {}  # a fresh group: `begin` seeks where to start
        except kafka_errors.OffsetOutOfRangeError as error:
            positions = error.args[0] if error.args else {}
            raise PartitionAlarm({place.partition: offset for place, offset in positions.items()}) from error
        return found

    def check(self) -> None:
        """Raise what went wrong in the group while nobody polled. Raises KafkaUnavailable."""
        with translated(f"be a member of {self._group}"):
            self._coordinator.check_errors()

    async def committed(self, partitions: Iterable[int]) -> dict[int, Commit]:
        """What the group holds of these partitions; those without a commit are left out. Raises KafkaUnavailable."""
        places = [TopicPartition(self._topic, number) for number in partitions]
        with translated(f"read the offsets of {self._group}"):
            found = await self._coordinator.fetch_committed_offsets(places)
        return {place.partition: Commit(kept.offset, kept.metadata or "") for place, kept in found.items()}

    async def commit(self, commits: Mapping[int, Commit], generation: int) -> bool:
        """Commit under that generation; False when the group refused because it has moved on.

        Raises:
            KafkaUnavailable: try again.
        """
        rows = [(number, each.offset, each.metadata) for number, each in commits.items()]
        coordinator = self._coordinator
        request = OffsetCommitRequest(
            self._group,
            generation,
            coordinator.member_id,
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            [(self._topic, rows)],
        )
        with translated(f"commit for {self._group}"):
            await coordinator.ensure_coordinator_known()
            response = await coordinator._send_req(request)  # noqa: SLF001
        for _topic, partitions in response.topics:
            for _number, code in partitions:
                self._check(code, "commit")
                if kafka_errors.for_code(code) in _REFUSED:
                    return False
        return True

    async def is_member(self) -> bool:
        """Whether the group still counts us in under our generation; if not, we have begun to join anew.

        Raises:
            KafkaUnavailable: the group can't say now, also while it is rebalancing.
        """
        coordinator = self._coordinator
        request = HeartbeatRequest(self._group, coordinator.generation, coordinator.member_id)
        with translated(f"ask {self._group}"):
            await coordinator.ensure_coordinator_known()
            response = await coordinator._send_req(request)  # noqa: SLF001
        self._check(response.error_code, "ask")
        refusal = kafka_errors.for_code(response.error_code)
        if refusal is kafka_errors.RebalanceInProgressError:
            coordinator.request_rejoin()
            raise KafkaUnavailable(f"{self._group} is rebalancing")
        if refusal in _REFUSED:
            coordinator.reset_generation()
            return False
        return True

    def begin(self, partition: int, offset: int) -> None:
        """Read the partition from this offset on."""
        place = TopicPartition(self._topic, partition)
        with translated(f"seek in {self._topic}"):
            self._consumer.seek(place, offset)
            self._consumer.resume(place)

    def pause(self, partition: int) -> None:
        """Fetch nothing of the partition until `begin`."""
        with translated(f"pause {self._topic}"):
            self._consumer.pause(TopicPartition(self._topic, partition))

    @property
    def _coordinator(self) -> Any:
        return self._consumer._coordinator  # noqa: SLF001

    def _check(self, code: int, doing: str) -> None:
        """Raise KafkaUnavailable for a refusal that isn't about who we are."""
        error = kafka_errors.for_code(code)
        if error is kafka_errors.NoError or error in _REFUSED:
            return
        if error in (kafka_errors.GroupCoordinatorNotAvailableError, kafka_errors.NotCoordinatorForGroupError):
            self._coordinator.coordinator_dead()
        raise KafkaUnavailable(f"{doing} {self._group}: {error.__name__}")

    async def revoked(self) -> None:
        """Aiokafka begins a rebalance."""
        await self._on_revoked(self.generation)

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Aiokafka has ended a rebalance. Nothing here may take long: heartbeats have not begun again."""
        positions = await self._on_assigned(self.generation, partitions)
        for number in partitions:
            # Any position at all: aiokafka fetches nothing from a broker while one of its partitions has none.
            self._consumer.seek(TopicPartition(self._topic, number), positions.get(number, 0))
            if number not in positions:
                self.pause(number)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, member: GroupMember) -> None:
        self._member = member

    async def on_partitions_revoked(self, _revoked: set[TopicPartition]) -> None:
        await self._member.revoked()

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self._member.assigned(frozenset(place.partition for place in assigned))
