"""What intake and the worker's loop say to each other."""

from dataclasses import dataclass
from typing import Protocol

from schemas.errors import ContractError
from schemas.records import TurnDispatched
from schemas.turns import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A dispatched turn that this worker now owns.

    Args:
        generation: under which the source's partition was assigned.
        is_new: it was dispatched after the assignment, so no engine has met it: the first read may be left out.
    """

    source: Source
    dispatched: TurnDispatched
    generation: int
    is_new: bool


class Taker(Protocol):
    """The worker's side. Calls come on the event loop and don't block."""

    def room(self) -> int:
        """How many more turns may arrive; 0 pauses fetching."""
        ...

    def take(self, arrival: Arrival) -> None:
        """A turn arrived. It stays unfinished until `Intake.finish`."""
        ...

    def unread(self, source: Source, generation: int, value: bytes, error: ContractError) -> None:
        """A record that can't be read: it is finished once it is in `dead.letters`."""
        ...

    def crowd(self) -> None:
        """A commit could not hold all that is finished: see `Intake.crowded`."""
        ...

    async def drop(self, partitions: frozenset[int]) -> None:
        """These partitions are somebody else's: nothing more is sent for them when this returns."""
        ...


class Intake(Protocol):
    """The group's side."""

    def finish(self, source: Source, generation: int) -> None:
        """The source needs nothing more: it may be committed. Of a partition that went meanwhile: no effect."""
        ...

    def has_room(self) -> None:
        """More turns may arrive."""
        ...

    def crowded(self) -> frozenset[int]:
        """Partitions whose finished turns don't fit a commit: their lowest unstarted turns should be given back."""
        ...

    async def is_owner(self, partition: int) -> bool:
        """Whether the group still counts this worker as the partition's owner. False: it will be dropped soon.

        Raises:
            KafkaUnavailable: the group can't be asked now.
        """
        ...
