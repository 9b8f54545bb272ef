"""Which partitions are ours, since which generation of the group, and what of them may be committed.

Pure. A partition is kept through a rebalance only if the generation rose by exactly one: then nobody else had it in
between. Otherwise it is new, and all that was known of it is dropped.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from inference_consumers.intake.ledger import Commit, Ledger


@dataclass(slots=True)
class Holding:
    """One partition that is ours.

    Args:
        generation: of the group, under which it was assigned; stays while it is kept.
        ledger: None until its commit was read.
        end: where the partition ended at the assignment or later: what is behind is new.
        committed: what the group holds of it, as far as we know.
        alarm: why nothing of it is worked on; None when all is well.
    """

    generation: int
    ledger: Ledger | None = None
    end: int = 0
    committed: Commit | None = None
    alarm: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What a rebalance did: `gone` must be dropped before anything else, `new` must be opened."""

    kept: frozenset[int]
    gone: frozenset[int]
    new: frozenset[int]


@dataclass(slots=True)
class Holdings:
    """The partitions of one member.

    Args:
        generation: of the group now; 0 or less = not a member.
        is_stable: False between the beginning and the end of a rebalance.
        epoch: rises with every change: what was fetched before belongs to another assignment.
    """

    generation: int = -1
    is_stable: bool = False
    epoch: int = 0
    partitions: dict[int, Holding] = field(default_factory=dict)

    def begin_rebalance(self, generation: int) -> frozenset[int]:
        """A rebalance begins.

        Args:
            generation: the member's own, 0 or less when the group has expelled it.

        Returns:
            Partitions to drop now: all of them when expelled, since others may have them already.
        """
        self.is_stable = False
        self.epoch += 1
        if generation > 0:
            return frozenset()
        return self.drop(self.partitions)

    def end_rebalance(self, generation: int, assigned: Iterable[int]) -> Change:
        """A rebalance has ended with these partitions."""
        wanted = frozenset(assigned)
        held = frozenset(self.partitions)
        kept = held & wanted if generation == self.generation + 1 else frozenset()
        gone = self.drop(held - kept)
        new = wanted - kept
        self.partitions |= {number: Holding(generation) for number in new}
        self.generation = generation
        self.is_stable = generation > 0
        self.epoch += 1
        return Change(kept, gone, new)

    def drop(self, partitions: Iterable[int]) -> frozenset[int]:
        """Forget these partitions with their finished sets; returns those that were ours."""
        dropped = frozenset(number for number in partitions if number in self.partitions)
        for number in dropped:
            del self.partitions[number]
        return dropped

    def ledger(self, partition: int, generation: int) -> Ledger | None:
        """The ledger of a partition if it is still ours since that generation."""
        holding = self.partitions.get(partition)
        return holding.ledger if holding is not None and holding.generation == generation else None

    def uncommitted(self) -> dict[int, Commit]:
        """What is to be committed now."""
        found: dict[int, Commit] = {}
        for number, holding in self.partitions.items():
            if holding.ledger is not None and holding.alarm is None:
                commit = holding.ledger.commit()
                if commit != holding.committed:
                    found[number] = commit
        return found

    def crowded(self) -> frozenset[int]:
        """Partitions whose last commit could not hold all that is finished."""
        held = self.partitions.items()
        return frozenset(number for number, each in held if each.ledger is not None and each.ledger.is_crowded)
