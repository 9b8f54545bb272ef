from collections.abc import Sequence
from typing import Any, NamedTuple

from infra.runtime.metrics import Metrics
from stream_processors.commit_age import CommitAge


class Place(NamedTuple):
    topic: str
    partition: int


class Owner:
    """Owns what it is told to."""

    def __init__(self) -> None:
        self.offsets: dict[Place, tuple[int, int] | None] = {}

    def assignment(self) -> Sequence[Any]:
        return list(self.offsets)

    def committed_and_end(self, partition: Any) -> tuple[int, int] | None:
        return self.offsets[partition]


def age(metrics: Metrics, partition: int) -> float | None:
    labels = {"group": "g", "topic": "chat.requests", "partition": str(partition)}
    return metrics.registry.get_sample_value("parley_commit_age_seconds", labels)


def test_age_counts_from_the_last_progress() -> None:
    """A partition with records left ages until its next commit; one without is always fresh."""
    owner, metrics = Owner(), Metrics("moderation")
    look = CommitAge(metrics, "g", owner, "t.").look
    first, second = Place("t.chat.requests", 0), Place("t.chat.requests", 1)
    owner.offsets = {first: (5, 10), second: None}
    look(100.0)
    assert (age(metrics, 0), age(metrics, 1)) == (0.0, 0.0)
    owner.offsets = {first: (5, 20), second: (7, 7)}
    look(103.0)
    assert (age(metrics, 0), age(metrics, 1)) == (3.0, 0.0)
    owner.offsets[first] = (6, 30)
    look(104.0)
    assert age(metrics, 0) == 0.0
    look(106.0)
    assert age(metrics, 0) == 2.0
    owner.offsets[first] = (30, 30)
    look(110.0)
    assert age(metrics, 0) == 0.0


def test_what_is_no_longer_owned_is_not_told() -> None:
    """A partition that has gone to another process leaves the metric."""
    owner, metrics = Owner(), Metrics("moderation")
    look = CommitAge(metrics, "g", owner, "t.").look
    owner.offsets = {Place("t.chat.requests", 0): (0, 5)}
    look(1.0)
    owner.offsets = {}
    look(2.0)
    assert age(metrics, 0) is None
