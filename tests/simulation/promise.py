"""The promise, checked as each record lands: one answer, one end, one record of a kind per id, one order.

Source: contract, section 2, "Promise", and section 4, "The rule". Names of what is broken: `one text`, `one end`,
`shown`, `moved`, `one order`, `context`, `one record`, `usage`, `finished`, `stop`, `reason`; the world adds `reached`.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from inference_consumers.intake.ledger import MAX_METADATA_BYTES, Commit, decode_runs
from schemas import projection, topics
from schemas.errors import ErrorCode
from schemas.fold import ConversationFold, TurnFold
from schemas.ids import TurnId
from schemas.records import (
    ConversationDeleted,
    MovedLogged,
    TurnAccepted,
    TurnAllowed,
    TurnCompleted,
    TurnDelta,
    TurnDispatched,
    TurnEnded,
    TurnQueued,
    TurnRefused,
    TurnReturned,
    TurnStarted,
    TurnStopRequested,
    UsageRecorded,
)
from schemas.topics import CLOSING_POOL
from schemas.turns import LogAddress, Message, OnBusy, Reason, Role, Source
from stream_processors.enrichment.context import texts

# Why a gate may end a turn as failed: two turns at once where one is allowed, or none of a deleted conversation.
_MAY_FAIL = frozenset({ErrorCode.CONVERSATION_BUSY, ErrorCode.NOT_FOUND})


class Broken(Exception):
    """The promise doesn't hold.

    Args:
        name: of the property.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


def name_of(turn: str | None) -> str:
    """A turn's own number, as schedules name it."""
    return "-" if turn is None else f"T{int(turn[-4:], 16)}"


@dataclass(slots=True)
class Told:
    """One log as its readers take it: the rule's state, and whether it took each record."""

    fold: ConversationFold = field(default_factory=ConversationFold)
    taken: list[bool] = field(default_factory=list)


@dataclass(slots=True)
class Promise:
    """What every reader must be able to believe, kept from the first record on.

    Args:
        log: the conversation's own. lane: where it goes on when that is closed.
        where: the log that each turn is accepted in.
    """

    log: LogAddress
    lane: LogAddress
    own: Told = field(default_factory=Told)
    laned: Told = field(default_factory=Told)
    where: dict[TurnId, LogAddress] = field(default_factory=dict)
    turns: dict[TurnId, TurnFold] = field(default_factory=dict)
    accepted: dict[TurnId, TurnAccepted] = field(default_factory=dict)
    requested: dict[TurnId, TurnAllowed | TurnRefused] = field(default_factory=dict)
    facts: dict[str, TurnCompleted | UsageRecorded] = field(default_factory=dict)
    pools: dict[str, list[TurnDispatched]] = field(default_factory=dict)
    started: dict[TurnId, list[TurnStarted]] = field(default_factory=dict)
    returned: set[Source] = field(default_factory=set)
    stopped: set[TurnId] = field(default_factory=set)
    is_stopped: bool = False
    is_deleted: bool = False
    had_zombie_gate: bool = False
    attempts: int = 0
    _knew_of_stop: set[str] = field(default_factory=set)

    def landed(self, topic: str, _offset: int, record: Any, knows: str | None) -> None:
        """See `broker.Watcher`. Raises Broken."""
        if topic == self.log.topic:
            self._logged(self.log, self.own, record, knows)
        elif topic == self.lane.topic:
            self._logged(self.lane, self.laned, record, knows)
        elif topic in (topics.TURNS, topics.USAGE):
            self._told(record)
        elif isinstance(record, TurnDispatched):
            self._dispatched(topic, record)
        elif isinstance(record, TurnAllowed | TurnRefused):
            self.requested.setdefault(TurnId(str(record.turn)), record)
            self.is_stopped |= record.request.on_busy is OnBusy.INTERRUPT
        elif isinstance(record, TurnStopRequested):
            if record.turn is None:
                self.is_stopped = True
            else:
                self.stopped.add(record.turn)
        elif isinstance(record, ConversationDeleted):
            self.is_deleted = True

    def claims(self, claim: TurnStarted, is_stopped: bool) -> None:
        """A worker is about to append its claim; `is_stopped`: it has read that somebody wants the turn stopped."""
        if is_stopped:
            self._knew_of_stop.add(claim.id)

    # --- the conversation log -----------------------------------------------------------------------------------------

    def deletes(self) -> None:
        """The own topic is deleted. Raises Broken when anybody still needs it."""
        if not self.own.fold.is_closed and not self.is_deleted:
            raise Broken("moved", "the own topic is deleted before its readers were told")
        if self.own.fold.open_turns:
            raise Broken("moved", f"{[name_of(turn) for turn in self.own.fold.open_turns]} is open in it")

    def _logged(self, log: LogAddress, told: Told, record: Any, knows: str | None) -> None:
        turn = record.turn
        offset = len(told.taken)
        is_taken = told.fold.take(record)
        told.taken.append(is_taken)
        if isinstance(record, MovedLogged) and told.fold.open_turns:
            raise Broken("moved", f"the log is closed while {[name_of(each) for each in told.fold.open_turns]} is open")
        if isinstance(record, TurnAccepted) and turn is not None:
            if is_taken or not self.own.fold.is_closed or log == self.lane:
                self._accepts(turn, record, log, is_taken=is_taken)
            return  # what a frozen gate says of a turn in the log that was left is dropped by all
        if turn is None:
            return
        if self.where.get(turn, log) != log:
            if isinstance(record, TurnStarted):
                raise Broken("moved", f"{name_of(turn)} is run in both logs")
            return
        fold = self.turns.get(turn)
        if isinstance(record, TurnQueued) and fold is None:
            return  # dropped by every reader, and said again when it has moved
        if fold is None:
            raise Broken("shown", f"{record.type} of {name_of(turn)} before its turn.accepted")
        before, attempt = fold.text, fold.cursor.attempt
        if fold.take(record, offset) is not is_taken:
            raise Broken("one text", f"the two folds differ about {record.type} of {name_of(turn)}")
        match record:
            case TurnStarted():
                self.started.setdefault(turn, []).append(record)
                if is_taken:
                    self.attempts += 1
                    self._first_of_all(turn, "started")
            case TurnDelta() if is_taken and knows != before:
                raise Broken("one text", f"a piece behind {knows!r} is read behind {before!r}")
            case TurnEnded() if is_taken:
                self._ends(record, fold, knows, before, attempt)

    def _accepts(self, turn: TurnId, record: TurnAccepted, log: LogAddress, *, is_taken: bool) -> None:
        known = self.accepted.get(turn)
        if is_taken and known is not None:
            raise Broken("shown", f"{name_of(turn)} is accepted twice, {known.order} and {record.order}")
        if not is_taken and known is None:
            raise Broken("shown", f"no reader shows {name_of(turn)}: its order {record.order} was taken already")
        if log == self.lane and not (self.own.fold.is_closed or self.is_deleted):
            raise Broken("moved", f"{name_of(turn)} is accepted in the lane while readers wait in the own topic")
        if known is None:
            self.accepted[turn] = record
            self.where[turn] = log
            self.turns[turn] = TurnFold(turn)

    def _first_of_all(self, turn: TurnId, what: str) -> None:
        order = self.accepted[turn].order
        for other in (*self.own.fold.open_turns, *self.laned.fold.open_turns):
            if other != turn and self.accepted[other].order < order:
                raise Broken("one order", f"{name_of(turn)} is {what} before {name_of(other)} has ended")

    def _ends(self, end: TurnEnded, fold: TurnFold, knows: str | None, before: str, attempt: int) -> None:
        name = name_of(end.turn)
        if attempt and knows != before:
            raise Broken("one end", f"{name} is ended behind {knows!r}, read behind {before!r}")
        turn = TurnId(str(end.turn))
        claim = fold.claim
        match end.reason:
            case Reason.STOP if claim is None or claim.id in self._knew_of_stop:
                raise Broken("stop", f"{name} ended by itself though its worker knew of a stop")
            case Reason.CANCELLED if not (turn in self.stopped or self.is_stopped or self.is_deleted):
                raise Broken("reason", f"{name} is cancelled, and nobody wanted that")
            case Reason.EXPIRED if end.at < self.requested[turn].request.deadline_at:
                raise Broken("reason", f"{name} is expired at {end.at}")
            case Reason.FAILED if end.error is None or end.error.code not in _MAY_FAIL:
                raise Broken("reason", f"{name} failed: {end.error}")
            case Reason.REFUSED if not isinstance(self.requested[turn], TurnRefused):
                raise Broken("reason", f"{name} is refused")
            case _:
                pass

    # --- what everybody else reads ------------------------------------------------------------------------------------

    def _told(self, record: Any) -> None:
        if isinstance(record, TurnReturned):
            self.returned.add(record.source)
        if not isinstance(record, TurnCompleted | UsageRecorded):
            return
        fold = self.turns.get(TurnId(str(record.turn)))
        name = f"{record.type} of {name_of(record.turn)}"
        if fold is None or fold.ended is None:
            raise Broken("one record", f"{name} before its end is in the log")
        known = self.facts.get(record.id)
        if known is None:
            is_whole = isinstance(record, TurnCompleted)
            known = projection.completed(fold, self.where[fold.turn]) if is_whole else projection.usage(fold)
            self._counted(fold, record)
        if record != known:
            raise Broken("one record", f"{name} says {_differences(record, known)}")
        self.facts[record.id] = record

    def _counted(self, fold: TurnFold, record: TurnCompleted | UsageRecorded) -> None:
        delivered = len(fold.texts)  # one token a piece here
        made = record.delivered_tokens + record.withheld_tokens + record.regenerated_tokens + record.discarded_tokens
        if record.delivered_tokens != delivered or record.generated_tokens != made:
            told = f"{record.delivered_tokens} delivered, {record.generated_tokens} generated"
            raise Broken("usage", f"{name_of(record.turn)}: {told}, the log holds {delivered}")

    def _dispatched(self, topic: str, record: TurnDispatched) -> None:
        self.pools.setdefault(topic, []).append(record)
        turn = TurnId(str(record.turn))
        accepted = self.accepted.get(turn)
        if accepted is None:
            raise Broken("shown", f"{name_of(turn)} is dispatched before its turn.accepted")
        if self.turns[turn].ended is not None:
            return  # a repeat that comes late: whoever takes it in finds the end
        self._first_of_all(turn, "dispatched")
        # A zombie gate reads its topics in another order, and may have shown another parent and place than the turn
        # has: the end says what was read, and readers with rows are looked at on their own.
        places = [(each.order, each.n, name_of(each.parent)) for each in (record, accepted)]
        if places[0] != places[1] and not (self.had_zombie_gate and record.order == accepted.order):
            raise Broken("context", f"{name_of(turn)} is dispatched with another place than it is shown with {places}")
        if record.pool != CLOSING_POOL:
            expected = (*self._context(record), Message(Role.USER, record.input_text))
            if record.messages != expected:
                raise Broken("context", f"{name_of(turn)} reads {record.messages}, the log says {expected}")

    def _context(self, record: TurnDispatched) -> list[Message]:
        found: list[Message] = []
        parent = record.parent
        while parent is not None:
            fold = self.turns[parent]
            if fold.ended is None:
                raise Broken("context", f"{name_of(record.turn)} follows {name_of(parent)}, which has not ended")
            if fold.ended.detail.epoch != record.epoch:
                break
            found[:0] = texts(fold.ended.reason, fold.ended.input_text, fold.text)
            parent = fold.ended.parent
        return found

    # --- commits of a pool --------------------------------------------------------------------------------------------

    def committed(self, topic: str, commit: Commit) -> None:
        """A worker commits. Raises Broken for a source that isn't done with."""
        if len(commit.metadata) > MAX_METADATA_BYTES:
            raise Broken("finished", f"a commit's metadata has {len(commit.metadata)} bytes")
        pool = self.pools.get(topic, [])
        finished = [*range(commit.offset), *(at for run in decode_runs(commit) for at in range(*run))]
        for offset in finished:
            self._rightly(pool[offset], Source(topic, 0, offset))

    def _rightly(self, dispatched: TurnDispatched, source: Source) -> None:
        if f"{dispatched.turn}.completed" in self.facts or source in self.returned:
            return
        claims = self.started.get(TurnId(str(dispatched.turn)), ())
        if not any(each.source != source and each.dispatch >= dispatched.dispatch for each in claims):
            raise Broken("finished", f"{source.topic}#{source.offset} of {name_of(dispatched.turn)} has no heir")

    # --- the end ------------------------------------------------------------------------------------------------------

    def missing(self) -> list[str]:
        """What of the goal isn't reached."""
        found = []
        for turn in self.requested:
            fold = self.turns.get(turn)
            if fold is None or fold.ended is None:
                found.append(f"{name_of(turn)} has not ended")
            elif f"{turn}.completed" not in self.facts:
                found.append(f"{name_of(turn)} is not in chat.turns")
            elif (f"{turn}.usage" in self.facts) is not (fold.claim is not None):
                found.append(f"{name_of(turn)} has no usage record, or one that it should not have")
        return found


def _differences(record: Any, known: Any) -> str:
    if known is None:
        return f"{record!r}, the log nothing of the kind"
    pairs = {each.name: (getattr(record, each.name), getattr(known, each.name)) for each in fields(record)}
    return ", ".join(f"{name} {said!r}, the log {true!r}" for name, (said, true) in pairs.items() if said != true)
