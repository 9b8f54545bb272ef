"""The simulated engine's slots and clock: who runs, who waits, and which tokens are due.

Pure: time comes in as an argument. Turns join and leave at steps, wait by priority and arrival while all slots are
taken, and make tokens at one rate, as a batching engine's do.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from typing import Final

from inference_consumers.engines.settings import SimulatedSettings

_SOON_S: Final = 1e-6  # sums of times are off by less: a token due now is not put off to the next step


class Fault(Enum):
    """What goes wrong with a generation, by the settings' rates."""

    NONE = "none"
    FAIL = "fail"
    STALL = "stall"
    DIE = "die"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One generation to be made.

    Args:
        ids: the tokens of its answer from `begin` on.
        begin: tokens made by earlier attempts.
    """

    id: str
    ids: Sequence[int]
    begin: int = 0
    priority: int = 0
    fault: Fault = Fault.NONE


@dataclass(frozen=True, slots=True)
class Emission:
    """What one run made in one step.

    Args:
        token_ids: may be empty at the end of an empty answer.
        is_last: the run has left its slot.
        fault: set when it left because of one.
    """

    id: str
    token_ids: Sequence[int]
    is_last: bool
    fault: Fault = Fault.NONE


@dataclass(slots=True)
class _Slot:
    run: Run
    first_at: float
    made: int = 0


@dataclass(slots=True)
class SimulatedBatch:
    """Slots, queue and the times at which tokens are due. Times are seconds of any one clock."""

    settings: SimulatedSettings
    _slots: dict[str, _Slot] = field(default_factory=dict)
    _due: list[tuple[float, str]] = field(default_factory=list)  # a heap; entries of runs that have left are skipped
    _waiting: list[tuple[int, int, Run]] = field(default_factory=list)  # a heap by priority, then arrival
    _queued: set[str] = field(default_factory=set)  # those of `_waiting` that nobody has cancelled
    _arrived: int = 0

    @property
    def running(self) -> int:
        """Runs in a slot."""
        return len(self._slots)

    @property
    def waiting(self) -> int:
        """Runs without a slot."""
        return len(self._queued)

    def add(self, run: Run, now_s: float) -> None:
        """Take a run in; it gets a slot now or when its turn comes."""
        heapq.heappush(self._waiting, (run.priority, self._arrived, run))
        self._arrived += 1
        self._queued.add(run.id)
        self._fill(now_s)

    def cancel(self, run_id: str, now_s: float) -> None:
        """Forget a run, wherever it is; its slot goes to the next. Unknown and ended ones are no error."""
        if self._slots.pop(run_id, None) is not None:
            self._fill(now_s)
        self._queued.discard(run_id)

    def due_at(self) -> float | None:
        """When the next token is due; None while nothing will happen by itself."""
        while self._due and self._due[0][1] not in self._slots:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def step(self, now_s: float) -> list[Emission]:
        """Make all tokens due by now."""
        emissions: list[Emission] = []
        while (due := self.due_at()) is not None and due <= now_s + _SOON_S:
            _due, run_id = heapq.heappop(self._due)
            emissions.append(self._advance(self._slots[run_id], now_s))
        self._fill(now_s)
        return emissions

    def _advance(self, slot: _Slot, now_s: float) -> Emission:
        run, rate = slot.run, self.settings.tokens_per_s
        left = len(run.ids) - run.begin - slot.made
        made = left if rate <= 0 else min(left, max(1, int((now_s - slot.first_at) * rate) + 1 - slot.made))
        fault = Fault.NONE
        if run.fault is not Fault.NONE and slot.made + made >= self.settings.fault_after_tokens:
            made, fault = max(0, self.settings.fault_after_tokens - slot.made), run.fault
        begin = run.begin + slot.made
        slot.made += made
        is_last = fault in {Fault.FAIL, Fault.DIE} or (fault is Fault.NONE and made == left)
        if is_last:
            del self._slots[run.id]
        elif fault is Fault.NONE:
            heapq.heappush(self._due, (slot.first_at + slot.made / rate, run.id))
        return Emission(run.id, run.ids[begin : begin + made], is_last, fault)

    def _fill(self, now_s: float) -> None:
        """Give free slots to those who wait."""
        while self._waiting and len(self._slots) < self.settings.slots:
            _priority, _arrival, run = heapq.heappop(self._waiting)
            if run.id not in self._queued:
                continue
            self._queued.remove(run.id)
            first_at = now_s + self.settings.ttft_ms / 1000
            self._slots[run.id] = _Slot(run, first_at)
            heapq.heappush(self._due, (first_at, run.id))


def drawn_fault(settings: SimulatedSettings, run_id: str) -> Fault:
    """Whether and how this generation goes wrong; another attempt has another id and draws anew."""
    drawn = int.from_bytes(sha256(run_id.encode()).digest()[:6], "big") / (1 << 48)
    for fault, rate in (
        (Fault.DIE, settings.die_rate),
        (Fault.STALL, settings.stall_rate),
        (Fault.FAIL, settings.fail_rate),
    ):
        if drawn < rate:
            return fault
        drawn -= rate
    return Fault.NONE
