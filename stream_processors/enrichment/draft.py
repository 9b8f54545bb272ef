"""One reduction at work: a state being changed and the effects decided so far. Lives for one call of `reduce`."""

from dataclasses import replace
from typing import Any

from schemas.ids import ConversationId, TurnId
from stream_processors.enrichment.effects import AppendAccepted, Dispatch, Effect, EndTurn
from stream_processors.enrichment.facts import Facts
from stream_processors.enrichment.inputs import Owner
from stream_processors.enrichment.state import Ended, Note, OpenTurn, Phase, Reset, State, Status


class Draft:
    """A state under change. The steps of the gate set fields, and say effects in the order they must happen."""

    def __init__(self, before: State, facts: Facts) -> None:
        self.before = before
        self.facts = facts
        self.effects: list[Effect] = []
        self.conversation = before.conversation
        self.tenant = before.tenant
        self.user = before.user
        self.log = before.log
        self.stored = before.stored
        self.phase = before.phase
        self.next_n = before.next_n
        self.epoch = before.epoch
        self.last = before.last
        self.order = before.order
        self.log_end = before.log_end
        self.ends = before.ends
        self.place = before.place
        self.turns: dict[TurnId, OpenTurn] = {turn.turn: turn for turn in before.turns}
        self.ended: tuple[Ended, ...] = before.ended
        self.notes: tuple[Note, ...] = before.notes
        self.resets: tuple[Reset, ...] = before.resets
        self.load_ms = before.load_ms
        self.echo = before.echo
        self.touched_ms = before.touched_ms
        self.deleted_ms = before.deleted_ms
        self.stop_offset = before.stop_offset
        self.retirement = before.retirement
        self.closed_ms = before.closed_ms
        self.announced_offset = before.announced_offset
        self.is_forgotten = False

    def say(self, *effects: Effect) -> None:
        """Decide these effects, in this order, behind those already decided."""
        self.effects.extend(effects)

    def put(self, turn: OpenTurn, **changes: Any) -> OpenTurn:
        """The open turn is now this, with these changes."""
        changed = replace(turn, **changes) if changes else turn
        self.turns[changed.turn] = changed
        return changed

    def note(self, turn: TurnId) -> Note | None:
        """What came before the turn did."""
        return next((note for note in self.notes if note.turn == turn), None)

    def keep_note(self, note: Note) -> None:
        """Remember it, in place of an earlier one of the turn."""
        others = tuple(other for other in self.notes if other.turn != note.turn)
        self.notes = (*others, note)[-self.facts.limits.notes :]

    def drop_note(self, turn: TurnId) -> None:
        """The turn has come."""
        if self.notes:
            self.notes = tuple(note for note in self.notes if note.turn != turn)

    def own(self, owner: Owner) -> None:
        """Whose conversation it is, known from the first record that says so."""
        if self.log is None:
            self.tenant, self.user, self.log, self.stored = owner.tenant, owner.user, owner.log, owner.stored

    def touch(self) -> None:
        """Something happened to the conversation."""
        self.touched_ms = max(self.touched_ms, self.facts.now_ms)

    @property
    def head(self) -> OpenTurn | None:
        """The first open turn: the only one that may be active."""
        return next(iter(self.turns.values()), None)

    @property
    def active(self) -> OpenTurn | None:
        """The dispatched turn."""
        return next((turn for turn in self.turns.values() if turn.status is Status.ACTIVE), None)

    def freeze(self) -> State | None:
        """The state after; None when nothing of the conversation is worth keeping."""
        if self.is_forgotten:
            return None
        turns = tuple(self.turns.values())
        after = State(
            conversation=self.conversation,
            tenant=self.tenant,
            user=self.user,
            log=self.log,
            stored=self.stored,
            phase=self.phase,
            next_n=self.next_n,
            epoch=self.epoch,
            last=self.last,
            order=self.order,
            log_end=self.log_end,
            ends=self.ends,
            place=self.place,
            turns=turns,
            ended=self.ended,
            notes=self.notes,
            resets=self.resets,
            load_ms=self.load_ms,
            echo=self.echo,
            touched_ms=self.touched_ms,
            deleted_ms=self.deleted_ms,
            stop_offset=self.stop_offset,
            retirement=self.retirement,
            closed_ms=self.closed_ms,
            announced_offset=self.announced_offset,
        )
        return None if _is_empty(after) else after


def due(draft: Draft, turn: OpenTurn) -> None:
    """Say again what the state says is due for this open turn: its place in the log, and its dispatch or end."""
    match turn.status:
        case Status.WAITING:
            draft.say(AppendAccepted(turn))
        case Status.ACTIVE:
            draft.say(Dispatch(turn))
        case Status.ENDING:
            draft.say(EndTurn(turn))
        case Status.PARKED:
            pass  # its load is asked for again by the clock


def _is_empty(state: State) -> bool:
    return state.phase is Phase.UNKNOWN and not (state.turns or state.ended or state.notes or state.resets)


def fresh(conversation: ConversationId) -> State:
    """The state of a conversation that the table doesn't know."""
    return State(conversation=conversation)
