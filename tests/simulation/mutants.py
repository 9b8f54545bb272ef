"""The product with one rule taken away each: what the simulation must find, or it finds nothing.

T1 to T11 are the traces of the model that the rules come from: each names the rule that mends it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from unittest.mock import patch

from inference_consumers.claims.decision import Decision, decide
from inference_consumers.claims.procedure import ClaimProcedure, Denied, Owned, Step
from inference_consumers.intake.holdings import Change, Holding, Holdings
from inference_consumers.intake.kafka_intake import KafkaIntake
from inference_consumers.publishing.kafka_turn_log import KafkaOutlet
from inference_consumers.scheduling.phases import Phase as CoursePhase
from schemas import projection, topics
from schemas.fold import TurnFold
from schemas.records import Record, TurnAccepted, TurnDispatched, TurnStarted
from stream_processors.enrichment import composing, gate, retiring, returns
from stream_processors.enrichment.changelog import _Pending
from stream_processors.enrichment.draft import Draft
from stream_processors.enrichment.effects import Dispatch, Effect
from stream_processors.enrichment.fencing import Stamp
from stream_processors.enrichment.state import OpenTurn, Status
from stream_processors.enrichment.states import States
from tests.simulation.course import Course
from tests.simulation.gate import LANE, LOG, SteppedDispatcher, SteppedGate, SteppedHands
from tests.simulation.scope import Scope
from tests.simulation.tables import SteppedChangelog

Patches = Callable[[ExitStack], None]


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule taken away.

    Args:
        without: what the product no longer does.
        breaks: names of properties, one of which must be found broken.
        needs: faults and wishes without which it can't show; more turns than one, when `turns` says so.
    """

    without: str
    breaks: tuple[str, ...]
    patches: Patches
    needs: tuple[str, ...] = ()
    turns: int = 1
    gates: int = 1
    never: tuple[str, ...] = ()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While this is open the product is the mutant."""
        with ExitStack() as stack:
            self.patches(stack)
            yield

    def suits(self, scope: Scope) -> bool:
        """Whether the run of this scope could show it."""
        budget = scope.budget
        return (
            all(budget.get(kind) for kind in self.needs)
            and not any(budget.get(kind) for kind in self.never)
            and len(scope.wishes) >= self.turns
            and scope.gates >= self.gates
        )


def _on(owner: Any, name: str, new: Any) -> Patches:
    def patches(stack: ExitStack) -> None:
        stack.enter_context(patch.object(owner, name, new))

    return patches


def _all(*each: Patches) -> Patches:
    def patches(stack: ExitStack) -> None:
        for one in each:
            one(stack)

    return patches


# --- the claim --------------------------------------------------------------------------------------------------------


def _continues(self: ClaimProcedure) -> Step:
    """T1: a claim that isn't taken counts all the same where the last one doesn't forbid it."""
    own, is_taken = self._own, self._is_taken
    self._own, self._is_taken = None, None
    decision = decide(self.view.fold, self._standing)
    if own is not None and (is_taken or decision is Decision.CLAIM):
        return Owned(own)
    return self._claim() if decision is Decision.CLAIM else Denied(decision)


def _by_fields(self: ClaimProcedure, offset: int, record: Record) -> bool:
    """T2: our own record is told by what it says."""
    is_taken = self.view.take(offset, record)
    own = self._own
    if own is None or not isinstance(record, TurnStarted) or self._is_taken is not None:
        return False
    if replace(record, id=own.id, at=own.at) != own:
        return False
    self._is_taken = is_taken
    return True


def _compares_after(self: ClaimProcedure) -> Step:
    """T3, T4: the claim is appended first, and what lay before it is asked afterwards."""
    own, is_taken = self._own, self._is_taken
    self._own, self._is_taken = None, None
    if self.view.fold.ended is not None:
        return Denied(Decision.ENDED)
    if own is None or not is_taken:
        return self._claim()
    before = TurnFold(self.view.fold.turn)
    before.claim = getattr(self, "before", None)
    decision = decide(before, self._standing)
    return Owned(own) if decision is Decision.CLAIM else Denied(decision)


def _remembers(self: ClaimProcedure, offset: int, record: Record) -> bool:
    if self._own is not None and record.id == self._own.id:
        self.before = self.view.fold.claim  # type: ignore[attr-defined]
    is_taken = self.view.take(offset, record)
    if self._own is None or record.id != self._own.id or self._is_taken is not None:
        return False
    self._is_taken = is_taken
    return True


async def _placed_late(self: SteppedDispatcher, *given: Any) -> TurnDispatched:
    """T5: a reader of the turn begins where its last `turn.accepted` landed."""
    record: TurnDispatched = await _DISPATCHED(self, *given)
    log = self.process.world.broker.log(LOG.topic)
    places = [at for at, each in enumerate(log) if isinstance(each, TurnAccepted) and each.turn == record.turn]
    return replace(record, place=places[-1])


def _says_nothing(_self: Course) -> CoursePhase:
    """T6: whose end isn't taken stops there."""
    return CoursePhase.LEFT


def _keeps_all(self: Holdings, _generation: int) -> frozenset[int]:
    self.is_stable = False
    self.epoch += 1
    return frozenset()


def _joins_with_all(self: Holdings, generation: int, assigned: Any) -> Change:
    """T11: tasks outlive the loss of their partition, and bear the generation of the moment."""
    held, wanted = frozenset(self.partitions), frozenset(assigned)
    for holding in self.partitions.values():
        holding.generation = generation
    self.partitions |= {number: Holding(generation) for number in wanted - held}
    self.generation, self.is_stable = generation, generation > 0
    self.epoch += 1
    return Change(held, frozenset(), wanted - held)


async def _is_nobody(_self: KafkaIntake, _partition: int) -> bool:
    """T11: a zombie by its number never asks whether its group began again."""
    return False


async def _at_once(self: KafkaOutlet, *facts: tuple[str, Record], trace: str | None = None) -> None:
    """The turn record does not wait for its usage record."""
    for ack in [await self._appender.send(topic, record, trace=trace) for topic, record in facts]:
        await ack


# --- the gate ---------------------------------------------------------------------------------------------------------


def _passes_ending(self: Draft) -> OpenTurn | None:
    """T7: the gate goes on to the next turn without reading its own end's TurnCompleted."""
    return next((turn for turn in self.turns.values() if turn.status is not Status.ENDING), None)


async def _unread(self: SteppedHands, here: Any, partition: int, turn: OpenTurn) -> None:
    """T7: the gate completes its own end without reading it back."""
    request = await self._request(partition, turn)
    log = self._process.world.broker.log(LOG.topic)
    end = composing.ended(here, turn, request)
    fold = TurnFold(turn.turn)
    fold.take(end, max(at for at, each in enumerate(log) if each.id == end.id))
    await self._process.send(topics.TURNS, projection.completed(fold, LOG))


def _counted(compose: Callable[..., Any]) -> Callable[..., Any]:
    """T9: `order` is a number of the state's own."""

    def counted(here: Any, turn: OpenTurn, *given: Any, **named: Any) -> Any:
        return replace(compose(here, turn, *given, **named), order=turn.n)

    return counted


def _same_number(draft: Draft, turn: OpenTurn, given: Any) -> None:
    """T10: what comes back goes out under the number that it had."""
    if given.dispatch >= turn.dispatch:
        draft.say(Dispatch(draft.put(turn, dispatch=given.dispatch, sent_ms=draft.facts.now_ms)))


def _ignored(_draft: Draft, _turn: OpenTurn) -> None:
    """T10: a turn that the gate is ending is not looked at again when it comes back."""


def _unsafe(self: SteppedChangelog, *given: Any, **named: Any) -> Any:
    """Effects do not wait for the changelog."""
    ack = _WRITE(self, *given, **named)
    ack.set_result(None)
    return ack


def _as_decided(draft: Draft) -> Iterator[Effect]:
    """What an earlier life did not say in the log is not said before what follows it."""
    yield from draft.effects


def _forgotten(self: SteppedGate, taken: Any, record: Record) -> list[Any]:
    """An input is acknowledged before its effects are done."""
    decided: list[Any] = _DECIDED(self, taken, record)
    taken.ack()
    return decided


def _keeps_places(draft: Draft) -> None:
    """Offsets of the own topic are taken for places in the lane."""
    draft.log = LANE


_DISPATCHED: Final = SteppedDispatcher.dispatched
_WRITE: Final = SteppedChangelog.write
_DECIDED: Final = SteppedGate.decided

MUTANTS: Final = {
    "T1": Mutant(
        "a claim that isn't taken is never written under",
        ("one text", "one end"),
        _on(ClaimProcedure, "read", _continues),
        needs=("freeze",),
    ),
    "T2": Mutant("a claim is told by its id", ("one text", "one end"), _on(ClaimProcedure, "saw", _by_fields)),
    "T3": Mutant(
        "nobody claims unless what was read says so",
        ("reached", "finished"),
        _all(_on(ClaimProcedure, "read", _compares_after), _on(ClaimProcedure, "saw", _remembers)),
    ),
    "T5": Mutant(
        "a reader's place is never one of the gate's own appends",
        ("one text", "one end", "one record", "shown"),
        _on(SteppedDispatcher, "dispatched", _placed_late),
    ),
    "T6": Mutant("whose end isn't taken decides again", ("reached",), _on(Course, "_end_not_taken", _says_nothing)),
    "T7 next": Mutant(
        "the gate goes on only with a TurnCompleted that it has read",
        ("one order", "context", "reason"),
        _on(Draft, "head", property(_passes_ending)),
        turns=2,
        gates=2,
        needs=("gate freeze", "stop"),
    ),
    "T7 unread": Mutant(
        "the gate reads its own end back", ("one record",), _on(SteppedHands, "_read_back", _unread), gates=2
    ),
    "T8": Mutant(
        "recovery drops an older writer's value",
        ("reached", "shown", "one order", "context"),
        _on(Stamp, "is_below", lambda _self, _other: False),
        gates=2,
        needs=("gate freeze",),
    ),
    "T9": Mutant(
        "a turn's order is its cause's offset",
        ("shown",),
        _all(
            _on(Stamp, "is_below", lambda _self, _other: False),
            _on(composing, "accepted", _counted(composing.accepted)),
            _on(composing, "dispatched", _counted(composing.dispatched)),
        ),
        turns=2,
        gates=2,
        needs=("gate freeze",),
        never=("reset", "hour", "deadline"),
    ),
    "T10": Mutant(
        "what comes back goes out under the next number", ("reached",), _on(returns, "returned", _same_number)
    ),
    "T10 ending": Mutant(
        "a turn that comes back while it ends is looked at again",
        ("reached",),
        _on(returns, "returned_while_ending", _ignored),
        needs=("give back", "gate freeze"),
        gates=2,
    ),
    "T11": Mutant(
        "a claim bears the generation of its partition's assignment",
        ("reached", "one text", "one end"),
        _all(_on(Holdings, "begin_rebalance", _keeps_all), _on(Holdings, "end_rebalance", _joins_with_all)),
    ),
    "T11 again": Mutant(
        "a zombie asks its group", ("reached",), _on(KafkaIntake, "is_owner", _is_nobody), needs=("group",)
    ),
    "unsafe": Mutant(
        "effects wait for the state",
        ("shown", "reached", "one order", "context", "one record"),
        _on(SteppedChangelog, "write", _unsafe),
    ),
    "state first": Mutant(
        "a state is written behind the context that it speaks of",
        ("context",),
        _on(_Pending, "waits_for", lambda _self: None),
        turns=2,
        gates=2,
        needs=("gate crash",),
    ),
    "erased": Mutant(
        "what a zombie says of an ended turn may stay",
        ("context",),
        _on(SteppedGate, "adopts", lambda _self, _partition, _key: False),
        turns=2,
        gates=2,
        needs=("gate freeze",),
    ),
    "theirs": Mutant(
        "a state is ours before its input is done with",
        ("reached", "shown", "one order", "context"),
        _on(States, "is_ours", lambda _self, _partition, _conversation: True),
        gates=2,
        needs=("gate freeze",),
    ),
    "stays": Mutant(
        "a conversation that is retired rides its lane",
        ("shown", "moved"),
        _on(retiring, "ride_lane", lambda _draft: None),
        turns=2,
        needs=("silence",),
    ),
    "places": Mutant(
        "places in the own topic mean nothing in the lane",
        ("one text", "one end", "one record", "shown", "reached"),
        _on(retiring, "ride_lane", _keeps_places),
        turns=2,
        needs=("silence",),
    ),
    "unclosed": Mutant(
        "a close that isn't confirmed is said before all else",
        ("moved",),
        _on(retiring, "close_again", lambda _draft: None),
        turns=2,
        needs=("silence", "gate crash"),
    ),
    "unsaid": Mutant("the log is told of earlier turns first", ("shown",), _on(gate, "_in_order", _as_decided)),
    "early": Mutant(
        "an input is acknowledged behind its effects", ("reached",), _on(SteppedGate, "decided", _forgotten)
    ),
    "usage": Mutant(
        "usage is there before the turn record",
        ("reached",),
        _on(KafkaOutlet, "publish", _at_once),
        needs=("give back", "engine"),
    ),
}
