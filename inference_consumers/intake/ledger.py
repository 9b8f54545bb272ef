"""Which offset of a partition is safe to commit when turns finish out of order.

Pure. The committed offset is the lowest unfinished one; the finished ones above it travel run-length coded in the
commit's metadata string, so that a successor starts none of them again. A run that no longer fits is left out: its
turns would be looked at again, found ended and finished again, so a commit is never too large and never wrong.
"""

import base64
import binascii
import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

# Kafka's offset.metadata.max.bytes is 4 096; the contract asks for 3 000.
MAX_METADATA_BYTES: Final = 3000
_MARK: Final = "r1:"
_MAX_RUN_BYTES: Final = (MAX_METADATA_BYTES - len(_MARK)) * 3 // 4


@dataclass(frozen=True, slots=True)
class Commit:
    """What a group's offset store is to hold of a partition."""

    offset: int
    metadata: str


@dataclass(slots=True)
class Ledger:
    """The offsets of one partition from its committed one on.

    Args:
        position: the offset after the last that arrived: where fetching goes on.
    """

    position: int
    _open: set[int] = field(default_factory=set)
    _known: list[tuple[int, int]] = field(default_factory=list)  # [start, stop) finished by predecessors
    _is_crowded: bool = False

    @classmethod
    def load(cls, commit: Commit) -> "Ledger":
        """The ledger that a predecessor's commit describes. Metadata that isn't ours counts as empty."""
        return cls(commit.offset, _known=list(decode_runs(commit)))

    @property
    def unfinished(self) -> int:
        """How many offsets arrived and are not finished."""
        return len(self._open)

    @property
    def is_crowded(self) -> bool:
        """True when the last commit could not hold all runs: the lowest unstarted turns should be given back."""
        return self._is_crowded

    def arrive(self, offset: int) -> bool:
        """Take the next fetched offset in; False: finished already, or fetched before.

        Offsets between the last arrival and this one hold no record.
        """
        if offset < self.position:
            return False
        self.position = offset + 1
        if self._is_known(offset):
            return False
        self._open.add(offset)
        return True

    def finish(self, offset: int) -> None:
        """The offset's turn needs nothing more of this source. Idempotent."""
        self._open.discard(offset)

    def commit(self) -> Commit:
        """What to commit now."""
        offset = min(self._open, default=self.position)
        runs = list(self._finished_from(offset))
        metadata, held = encode_runs(offset, runs)
        self._is_crowded = held < len(runs)
        return Commit(offset, metadata)

    def _is_known(self, offset: int) -> bool:
        at = bisect.bisect_right(self._known, offset, key=lambda run: run[0]) - 1
        return at >= 0 and self._known[at][0] <= offset < self._known[at][1]

    def _finished_from(self, offset: int) -> Iterator[tuple[int, int]]:
        """[start, stop) of all that is finished above the lowest unfinished, in order, joined where they touch."""
        here = offset
        for unfinished in [*sorted(self._open), self.position]:
            if unfinished > here:
                yield here, unfinished
            here = unfinished + 1
        yield from ((max(start, self.position), stop) for start, stop in self._known if stop > self.position)


def encode_runs(offset: int, runs: Iterable[tuple[int, int]]) -> tuple[str, int]:
    """The finished runs above a committed offset as text, and how many of them it holds: the lowest that fit."""
    raw = bytearray()
    here, held = offset, 0
    for start, stop in runs:
        piece = _varint(start - here) + _varint(stop - start)
        if len(raw) + len(piece) > _MAX_RUN_BYTES:
            break
        raw += piece
        here, held = stop, held + 1
    return (_MARK + base64.b64encode(raw).decode().rstrip("=") if raw else ""), held


def decode_runs(commit: Commit) -> Iterator[tuple[int, int]]:
    """[start, stop) of the finished runs in a commit, in order; nothing when the text isn't ours."""
    if not commit.metadata.startswith(_MARK):
        return
    text = commit.metadata.removeprefix(_MARK)
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        numbers = list(_numbers(raw))
    except (binascii.Error, ValueError):
        return
    here = commit.offset
    for gap, length in zip(numbers[::2], numbers[1::2], strict=False):
        start = here + gap
        here = start + length
        if length:
            yield start, here


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _numbers(raw: bytes) -> Iterator[int]:
    number, shift = 0, 0
    for byte in raw:
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield number
            number, shift = 0, 0
    if shift:
        raise ValueError("a number ends in the middle")
