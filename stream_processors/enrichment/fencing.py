"""What a zombie gate wrote must not undo what its successor did: every changelog value bears who wrote it.

A value is `generation SP version SP due LF body`. The generation is the gate's group's, the version counts one
process's writes; recovery drops a lower pair that lies behind a higher one of its key, and writes the good one again.
`due` is when the key next wants a tick (0 = never), so that who recovers a table needn't read every body.
Source: architecture, "The gate" (R9 of its model).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from schemas.errors import InvariantBroken

GENERATION_HEADER: Final = "generation"
"""Of a null value, which can't bear a stamp."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What stands before a value."""

    generation: int
    version: int
    due_ms: int

    def is_below(self, other: "Stamp") -> bool:
        """True for an older writer, or an older write of the same one."""
        return (self.generation, self.version) < (other.generation, other.version)


def stamped(stamp: Stamp, body: bytes) -> bytes:
    """The table's value."""
    return b"%d %d %d\n%b" % (stamp.generation, stamp.version, stamp.due_ms, body)


def read_stamp(value: bytes) -> Stamp:
    """The numbers before a value. Raises InvariantBroken: nothing that a gate wrote."""
    head, _, _ = value.partition(b"\n")
    try:
        generation, version, due_ms = head.split(b" ")
        return Stamp(int(generation), int(version), int(due_ms))
    except ValueError:
        raise InvariantBroken(f"a changelog value begins with {value[:40]!r}") from None


def body(value: bytes) -> bytes:
    """What follows the stamp."""
    return value.partition(b"\n")[2]


def null_generation(headers: Iterable[tuple[str, bytes]]) -> int:
    """Who wrote a null value; 0 for one that doesn't say."""
    return next((int(value) for name, value in headers if name == GENERATION_HEADER), 0)


def effective(generation: int, seen: int) -> int:
    """The generation to write under: above all that was seen, also when the group's own numbers began again at 1.

    The sum, so that two successive owners that see the same still get rising ones, as the group's numbers rise.
    """
    return seen + generation
