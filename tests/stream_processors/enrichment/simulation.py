"""One conversation around the real reducer: logs, lawful workers, a loader, and a gate that may die at any step.

The gate's order of things is the shell's: state, then effects, then ack; what a crash leaves is a prefix of each.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from schemas import ids
from schemas.ids import ConversationId, TurnId
from schemas.topics import CLOSING_POOL
from schemas.turns import LogAddress, OnBusy, Reason
from stream_processors.enrichment.effects import (
    AnnounceDeleted,
    AppendAccepted,
    AppendReset,
    Dispatch,
    Effect,
    EndTurn,
    LoadContext,
    RequestStop,
)
from stream_processors.enrichment.facts import Facts, Fits, Limits, Plan, Spoken, Unloaded
from stream_processors.enrichment.gate import reduce
from stream_processors.enrichment.inputs import (
    Allowed,
    Announced,
    Completed,
    DeleteAsked,
    EndLost,
    Input,
    Loaded,
    Owner,
    Refused,
    ResetAsked,
    Returned,
    StopAsked,
    Ticked,
)
from stream_processors.enrichment.state import OpenTurn, State
from stream_processors.enrichment.state_codec import pack, unpack

CONVERSATION: ConversationId = ids.conversation_id("0" * 32)
OWNER = Owner(tenant="acme", user="u", log=LogAddress("conversations", 0))
LIMITS = Limits(waiting=3)


def turn_id(number: int) -> TurnId:
    return ids.turn_id(CONVERSATION, f"{number:032x}")


@dataclass(frozen=True)
class Logged:
    """A record of the conversation log: accepted, started or ended."""

    kind: str
    turn: TurnId
    attempt: int = 0
    order: int = 0
    dispatch: int = 0
    source: int = -1
    reason: Reason = Reason.STOP
    n: int = 0
    epoch: int = 0


@dataclass
class Fold:
    """The rule of the log for one turn."""

    attempt: int = 0
    claim: Logged | None = None
    ended: Logged | None = None
    end_offset: int = -1
    highest_dispatch: int = 0


@dataclass
class Batch:
    """What the gate has to do for one input."""

    place: tuple[str, int] | None
    state: State | None
    effects: list[Effect]
    is_safe: bool = False


@dataclass
class World:
    """See the module."""

    chance: random.Random
    log: list[Logged] = field(default_factory=list)
    topics: dict[str, list[Any]] = field(default_factory=lambda: {"moderated": [], "control": [], "turns": []})
    inference: list[Dispatch] = field(default_factory=list)
    taken_sources: set[int] = field(default_factory=set)
    now_ms: int = 1_000_000
    state: State | None = None
    safe_state: State | None = None
    batches: list[Batch] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=lambda: {"moderated": 0, "control": 0, "turns": 0})
    committed: dict[str, int] = field(default_factory=lambda: {"moderated": 0, "control": 0, "turns": 0})
    loads: list[TurnId | None] = field(default_factory=list)
    alive: bool = True
    is_deleted: bool = False
    said: set[TurnId] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    # --- the gate -----------------------------------------------------------------------------------------------------

    def facts(self) -> Facts:
        return Facts(
            now_ms=self.now_ms,
            plan=self.plan,
            is_alive=lambda pool: self.alive or pool == CLOSING_POOL,
            has_ended=lambda turn: self.fold(turn).ended is not None and self.is_completed(turn),
            was_said=self.said.__contains__,
            attempts=lambda _turn: 2,
            fallback=lambda turn: self.chance.choice(
                (None, Spoken(), None if turn.is_degraded else Fits(pool="c", deployment="d", tokens=1))
            ),
            limits=LIMITS,
        )

    def plan(self, turn: OpenTurn) -> Plan:
        if turn.parent is not None and self.fold(TurnId(turn.parent)).ended is None:
            return Unloaded(TurnId(turn.parent))
        return Fits(pool=self.chance.choice(("a", "b")), deployment="d", tokens=1)

    def take(self, topic: str) -> bool:
        given = self.topics[topic][self.read[topic]]
        place = (topic, self.read[topic])
        self.read[topic] += 1
        self.move(given, place)
        return True

    def move(self, given: Input, place: tuple[str, int] | None) -> None:
        outcome = reduce(CONVERSATION, self.state, given, self.facts())
        if outcome.state is not None:
            again = unpack(CONVERSATION, pack(outcome.state))
            assert again == outcome.state
        self.state = outcome.state
        self.batches.append(Batch(place, outcome.state, list(outcome.effects)))
        self.said |= {each.turn.turn for each in outcome.effects if isinstance(each, AppendAccepted)}

    def save(self) -> bool:
        """The oldest unsafe state is acknowledged by the changelog."""
        for batch in self.batches:
            if not batch.is_safe:
                batch.is_safe = True
                self.safe_state = batch.state
                return True
        return False

    def act(self) -> bool:
        """The next effect, or the ack, of the oldest input whose state is safe."""
        if not self.batches or not self.batches[0].is_safe:
            return False
        batch = self.batches[0]
        if batch.effects:
            self.perform(batch, batch.effects.pop(0))
        else:
            self.batches.pop(0)
            if batch.place is not None:
                topic, offset = batch.place
                self.committed[topic] = max(self.committed[topic], offset + 1)
        return True

    def perform(self, batch: Batch, effect: Effect) -> None:
        match effect:
            case AppendAccepted(turn):
                self.log.append(Logged("A", turn.turn, order=turn.order, n=turn.n, epoch=turn.epoch))
            case EndTurn(turn):
                self.log.append(Logged("E", turn.turn, reason=turn.reason or Reason.FAILED, n=turn.n, epoch=turn.epoch))
                fold = self.fold(turn.turn)
                if fold.ended is not None:
                    self.complete(turn.turn)
                else:
                    self._lost(batch, EndLost(turn=turn.turn, dispatch=fold.highest_dispatch))
            case Dispatch():
                self.inference.append(effect)
            case RequestStop(turn_named):
                self.topics["control"].append(StopAsked(turn=turn_named, offset=len(self.topics["control"])))
            case AppendReset():
                self.topics["turns"].append(Announced(offset=len(self.topics["turns"])))
            case AnnounceDeleted():
                self.is_deleted = True
                self.topics["turns"].append(Announced(offset=len(self.topics["turns"])))
            case LoadContext(parent):
                self.loads.append(parent)
            case _:
                pass

    def _lost(self, batch: Batch, given: EndLost) -> None:
        """The shell's own hands: the state moves and is safe before the follow-up's effects, all within this input."""
        outcome = reduce(CONVERSATION, self.state, given, self.facts())
        self.state = outcome.state
        for other in self.batches:
            other.is_safe = True
        self.safe_state = self.state
        batch.effects[:0] = list(outcome.effects)

    def crash(self) -> None:
        self.state = self.safe_state
        self.batches = []
        self.said = set()
        self.read = dict(self.committed)

    # --- the others ---------------------------------------------------------------------------------------------------

    def load(self) -> bool:
        parent = self.loads.pop(0)
        done = [each for each in self.topics["turns"] if isinstance(each, Completed)]
        newest = max(done, key=lambda each: each.n, default=None)
        self.topics["control"].append(
            Loaded(
                next_n=1 if newest is None else newest.n + 1,
                last=None if newest is None else newest.turn,
                parent=parent,
                is_deleted=self.is_deleted,
            )
        )
        return True

    def work(self) -> bool:
        """A worker meets one source and does what the claim's rule says, whole."""
        open_sources = [at for at in range(len(self.inference)) if at not in self.taken_sources]
        if not open_sources:
            return False
        source = self.chance.choice(open_sources)
        turn = self.inference[source].turn
        is_closing = turn.pool == CLOSING_POOL
        if not is_closing and not self.alive:
            open_closing = [at for at in open_sources if self.inference[at].turn.pool == CLOSING_POOL]
            if not open_closing:
                return False
            source = open_closing[0]
            turn, is_closing = self.inference[source].turn, True
        fold = self.fold(turn.turn)
        if fold.ended is not None:
            self.complete(turn.turn)
        elif fold.claim is not None and fold.claim.source != source and turn.dispatch <= fold.claim.dispatch:
            pass  # a repeat
        elif not is_closing and fold.claim is None and self.chance.random() < 0.15:
            self.topics["turns"].append(
                Returned(turn=turn.turn, dispatch=turn.dispatch, offset=len(self.topics["turns"]))
            )
        else:
            self._claim(turn, source, fold)
            return True
        self.taken_sources.add(source)
        return True

    def _claim(self, turn: OpenTurn, source: int, fold: Fold) -> None:
        for at, record in enumerate(self.log):
            if record.kind == "A" and record.order < turn.order and at < len(self.log):
                before = self.fold(record.turn)
                if before.ended is None and record.turn != turn.turn:
                    self.problems.append(f"{turn.turn[-2:]} claimed before {record.turn[-2:]} ended")
        if not any(record.kind == "A" and record.turn == turn.turn for record in self.log):
            self.problems.append(f"{turn.turn[-2:]} claimed before it was accepted in the log")
        attempt = fold.attempt + 1
        self.log.append(Logged("S", turn.turn, attempt=attempt, dispatch=turn.dispatch, source=source))
        if self.chance.random() < 0.2:
            return  # dies; its source comes again
        self.taken_sources.add(source)
        if turn.pool != CLOSING_POOL and self.chance.random() < 0.2:
            self._fail(turn)
            return
        stops = {each.turn for each in self.topics["control"] if isinstance(each, StopAsked)}
        reason = Reason.CANCELLED if turn.turn in stops else Reason.STOP
        reason = turn.reason or reason if turn.pool == CLOSING_POOL else reason
        self.log.append(Logged("E", turn.turn, attempt=attempt, reason=reason, n=turn.n, epoch=turn.epoch))
        self.complete(turn.turn)

    def _fail(self, turn: OpenTurn) -> None:
        """The engine fails: the turn goes back, behind something of its answer or not."""
        self.topics["turns"].append(
            Returned(
                turn=turn.turn,
                dispatch=turn.dispatch,
                offset=len(self.topics["turns"]),
                failures=turn.failures + 1,
                is_shown=self.chance.random() < 0.3,
                worker="w",
            )
        )

    def complete(self, turn: TurnId) -> None:
        fold = self.fold(turn)
        assert fold.ended is not None
        self.topics["turns"].append(
            Completed(
                turn=turn,
                owner=OWNER,
                n=fold.ended.n,
                epoch=fold.ended.epoch,
                reason=fold.ended.reason,
                log_end=fold.end_offset,
                offset=len(self.topics["turns"]),
            )
        )

    def fold(self, turn: TurnId) -> Fold:
        fold = Fold()
        for offset, record in enumerate(self.log):
            if record.turn != turn or record.kind == "A":
                continue
            if record.kind == "S":
                fold.highest_dispatch = max(fold.highest_dispatch, record.dispatch)
                if fold.ended is None and record.attempt > fold.attempt:
                    fold.attempt, fold.claim = record.attempt, record
            elif fold.ended is None and record.attempt == fold.attempt:
                fold.ended, fold.end_offset = record, offset
        return fold

    def is_completed(self, turn: TurnId) -> bool:
        return any(isinstance(each, Completed) and each.turn == turn for each in self.topics["turns"])

    # --- a run --------------------------------------------------------------------------------------------------------

    def step(self, *, faults: bool) -> bool:
        """One step of somebody; False when nobody has anything to do."""
        able = [name for name in self.read if self.read[name] < len(self.topics[name])]
        steps: list[Callable[[], bool]] = [partial(self.take, name) for name in able]
        if self.batches:
            steps += [self.save, self.act, self.act]
        if self.loads:
            steps.append(self.load)
        steps.append(self.work)
        self.chance.shuffle(steps)
        if faults and self.chance.random() < 0.03:
            self.crash()
            return True
        return any(step() for step in steps)

    def tick(self, by_ms: int) -> None:
        self.now_ms += by_ms
        self.topics["control"].append(Ticked())


def arrivals(chance: random.Random, turns: int) -> list[Any]:
    """Requests as moderation passes them on: some repeated under a later offset, some refused, resets and a delete."""
    found: list[Any] = []
    for number in range(turns):
        kind = Refused if chance.random() < 0.15 else Allowed
        found.append(
            kind(
                turn=turn_id(number + 1),
                owner=OWNER,
                order=0,
                is_new=number == 0,
                deadline_ms=1_000_000 + chance.choice((60_000, 600_000)),
                on_busy=chance.choice((OnBusy.QUEUE, OnBusy.QUEUE, OnBusy.REJECT, OnBusy.INTERRUPT)),
            )
        )
        if chance.random() < 0.2:
            found.append(replace(found[-1]))
        if chance.random() < 0.1:
            found.append(ResetAsked(owner=OWNER, order=0))
    if chance.random() < 0.1:
        found.insert(chance.randrange(1, len(found) + 1), DeleteAsked(owner=OWNER, order=0))
    if chance.random() < 0.2:
        found = [replace(each, is_new=False) if isinstance(each, Allowed) else each for each in found]
    return [replace(each, order=order) for order, each in enumerate(found)]
