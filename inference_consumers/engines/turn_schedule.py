"""Which turns take part in the next step of the `torch` engine, with how many tokens, and whose memory makes room.

Pure: it moves turns between queues and counts tokens of memory; it never looks into the memory itself. Turns join and
leave between steps. A prompt is read in stretches beside the turns that are already answering. When memory runs out,
the last in line gives its own back and is read again later: its text doesn't change, it only comes later.
"""

import bisect
import heapq
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

BLOCK_TOKENS: Final = 256  # memory is given in blocks: growing copies what is there, so not by every token
_WORTH_KEEPING: Final = 16  # tokens: reading so few again costs less than a quarter of a step


class Memory(Protocol):
    """The runner's handle on what it has computed of a turn."""

    def copied(self, tokens: int) -> "Memory":
        """Memory for another turn that begins with the same tokens."""
        ...


@dataclass(slots=True)
class Turn:
    """One generation inside the engine.

    Args:
        ids: prompt, emitted and generated tokens, in order. prompt_tokens: how many of them are prompt.
        computed: how many of `ids` are in memory.
        cached: how many were there when it first got a slot.
        memory: None until the runner makes one. allocated: tokens for which it may have room.
    """

    id: str
    ids: list[int]
    prompt_tokens: int
    priority: int = 0
    arrival: int = 0
    computed: int = 0
    cached: int | None = None
    memory: Any = None  # a Memory; Any because each runner knows its own
    allocated: int = 0
    sampling: Any = None

    @property
    def rank(self) -> tuple[int, int]:
        """Place in line: lower goes first."""
        return self.priority, self.arrival


@dataclass(frozen=True, slots=True)
class Stretch:
    """The next tokens of one turn to be computed. `is_last`: its next token can then be drawn."""

    turn: Turn
    tokens: int

    @property
    def is_last(self) -> bool:
        """Whether nothing of the turn is left to be read behind this stretch."""
        return self.turn.computed + self.tokens == len(self.turn.ids)


@dataclass(slots=True)
class _Kept:
    ids: list[int]
    memory: Any
    allocated: int


def blocks(tokens: int) -> int:
    """Tokens of whole blocks that hold so many."""
    return -(-tokens // BLOCK_TOKENS) * BLOCK_TOKENS


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    length = min(len(one), len(other))
    return bisect.bisect_left(range(1, length + 1), True, key=lambda size: one[:size] != other[:size])


@dataclass(slots=True)
class TurnSchedule:
    """The turns of one engine.

    Args:
        slots: most turns in a step.
        capacity_tokens: memory, for running turns and kept prompts together.
        prefill_tokens: most tokens of prompts in a step.
    """

    slots: int
    capacity_tokens: int
    prefill_tokens: int
    running: list[Turn] = field(default_factory=list)  # by rank
    _waiting: list[tuple[int, int, Turn]] = field(default_factory=list)
    _kept: OrderedDict[int, _Kept] = field(default_factory=OrderedDict)  # least recently used first
    _arrivals: int = 0
    _kept_so_far: int = 0

    @property
    def waiting(self) -> int:
        """Turns without a slot."""
        return len(self._waiting)

    @property
    def used_tokens(self) -> int:
        """Memory of running turns."""
        return sum(turn.allocated for turn in self.running)

    @property
    def kept_tokens(self) -> int:
        """Memory of ended turns, kept for prompts that begin alike."""
        return sum(kept.allocated for kept in self._kept.values())

    def add(self, turn: Turn) -> None:
        """Put a new turn in line."""
        turn.arrival = self._arrivals
        self._arrivals += 1
        heapq.heappush(self._waiting, (*turn.rank, turn))

    def remove(self, turn_id: str) -> None:
        """End a turn wherever it is; what was computed of it is kept. Unknown ones are no error."""
        for turn in self.running:
            if turn.id == turn_id:
                self.running.remove(turn)
                self._keep(turn)
                return
        self._waiting = [entry for entry in self._waiting if entry[2].id != turn_id]
        heapq.heapify(self._waiting)

    def plan(self) -> list[Stretch]:
        """The next step; empty when there is nothing to do. Every turn in it has memory counted for its stretch."""
        self._make_room()
        self._admit()
        stretches: list[Stretch] = []
        budget = self.prefill_tokens
        for turn in self.running:
            left = len(turn.ids) - turn.computed
            tokens = 1 if left == 1 else min(left, budget)
            if left > 1:
                budget -= tokens
            if tokens:
                stretches.append(Stretch(turn, tokens))
        return stretches

    def _make_room(self) -> None:
        """Memory for the next token of every running turn; the last in line give theirs back if there isn't enough."""
        for turn in list(self.running):
            if turn not in self.running:
                continue
            needed = blocks(turn.computed + 1) - turn.allocated
            while needed > 0 and not self._free(needed):
                last = self.running.pop()
                _give_back(last)
                heapq.heappush(self._waiting, (*last.rank, last))
                if last is turn:
                    break
            else:
                turn.allocated += max(0, needed)

    def _admit(self) -> None:
        while self._waiting and len(self.running) < self.slots:
            turn = self._waiting[0][2]
            needed = blocks(len(turn.ids) + 1)
            # A block to grow for every running turn: else the newcomer would soon be sent back.
            if self.used_tokens + needed + BLOCK_TOKENS * len(self.running) > self.capacity_tokens:
                return
            heapq.heappop(self._waiting)
            self._take_kept(turn)
            if turn.allocated > needed and not self._free(turn.allocated):
                _give_back(turn)  # what was kept is longer than what fits
            self._free(max(needed, turn.allocated))
            turn.allocated = max(needed, turn.allocated)
            if turn.cached is None:
                turn.cached = turn.computed
            bisect.insort(self.running, turn, key=lambda one: one.rank)

    def _free(self, tokens: int) -> bool:
        """Whether so many tokens more fit beside what runs, after forgetting kept prompts as needed."""
        used = self.used_tokens
        if used + tokens > self.capacity_tokens:
            return False
        while used + self.kept_tokens + tokens > self.capacity_tokens:
            self._kept.popitem(last=False)
        return True

    def _take_kept(self, turn: Turn) -> None:
        """Give the turn the kept memory with the longest common beginning. One token is always left to compute.

        What is mostly the turn's own past moves to it; of what only begins alike (same instructions) it gets a copy.
        """
        best, place = 0, None
        for number, kept in self._kept.items():
            length = common_prefix(kept.ids, turn.ids)
            if length >= best:
                best, place = length, number
        if place is None or best < _WORTH_KEEPING:
            return
        kept = self._kept[place]
        turn.computed = min(best, len(turn.ids) - 1)
        if best * 4 >= len(kept.ids) * 3:
            turn.memory, turn.allocated = self._kept.pop(place).memory, kept.allocated
        else:
            self._kept.move_to_end(place)
            turn.memory, turn.allocated = kept.memory.copied(best), blocks(best)

    def _keep(self, turn: Turn) -> None:
        if turn.memory is not None and turn.computed >= _WORTH_KEEPING:
            self._kept[self._kept_so_far] = _Kept(turn.ids[: turn.computed], turn.memory, turn.allocated)
            self._kept_so_far += 1


def _give_back(turn: Turn) -> None:
    turn.memory, turn.allocated, turn.computed = None, 0, 0
