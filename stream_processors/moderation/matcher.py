"""One automaton for all rules of a screen, run over a text character by character.

The rules are a nondeterministic automaton: a trie of the literals' spellings beside the patterns' places. Its
deterministic form is made while texts run through it (RE2's way): a state is the live partial matches, oldest first,
its moves are a dict by character. A character costs one look-up once met, a bounded step before, and never a backtrack.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import getitem
from typing import Any, Final, Generic, Protocol, TypeVar

from stream_processors.moderation.dialect import Pattern
from stream_processors.moderation.literal import GAP, MAX_GAP, Literal
from stream_processors.moderation.normalise import Kind, Symbol, symbols

# 50 000 moves are some 10 MB; a text of ever new characters makes them be forgotten, and pays for it itself.
MAX_MOVES: Final = 50_000


class Outcome(Protocol):
    """What a match stands for."""

    @property
    def order(self) -> int:
        """Of two at the same place the lower speaks."""

    @property
    def stops(self) -> bool:
        """True when nothing behind it matters any more."""


M = TypeVar("M", bound=Outcome)


@dataclass(frozen=True, slots=True)
class Term(Generic[M]):
    """What one match stands for, and all that matches it."""

    outcome: M
    parts: tuple[Literal | Pattern, ...]


@dataclass(slots=True, eq=False)
class _Node(Generic[M]):
    """A place in the trie of spellings, or in a pattern.

    Args:
        edges: by unit, of a literal. takes, follow: of a pattern.
        is_gap: the unit before it was a gap. is_loose: signs may stand before the next unit.
        now: outcomes of a match that ends here. at_end: of one that ends here if the word does.
    """

    edges: dict[str, "_Node[M]"] = field(default_factory=dict)
    follow: list["_Node[M]"] = field(default_factory=list)
    takes: Any = None
    is_gap: bool = False
    is_loose: bool = False
    now: list[M] = field(default_factory=list)
    at_end: list[M] = field(default_factory=list)


# A live partial match: where it is, whether a real letter was among its characters, how many separators it just passed.
_Thread = tuple[_Node[Any], bool, int]
# Which thread of the state before became each thread of this one; -1: it began with this character.
_Origins = tuple[int, ...]


class State(dict[str, "State[Any]"], Generic[M]):
    """A state of the deterministic form: its moves by character, made when first asked for.

    Args:
        threads: live partial matches, oldest first.
        in_word: the symbol before was a letter or digit.
        flagged: outcomes met so far that don't stop.
        stopped: the outcome that does; a state with one is the last.
    """

    __slots__ = ("_automaton", "flagged", "in_word", "origins", "stopped", "threads")

    def __init__(
        self,
        automaton: "Automaton[M]",
        threads: tuple[_Thread, ...],
        *,
        in_word: bool,
        flagged: tuple[M, ...],
        stopped: M | None,
    ) -> None:
        super().__init__()
        self._automaton = automaton
        self.threads = threads
        self.in_word = in_word
        self.flagged = flagged
        self.stopped = stopped
        self.origins: dict[str, _Origins] = {}

    def __missing__(self, character: str) -> "State[M]":
        state, origins = self._automaton.move(self, character)
        self.origins[character] = origins
        self[character] = state
        return state

    def forget(self) -> None:
        """Drop the moves; they are made again when they are asked for."""
        self.clear()
        self.origins.clear()


class Automaton(Generic[M]):
    """All rules of a screen.

    Args:
        terms: in no particular order.
    """

    def __init__(self, terms: Iterable[Term[M]]) -> None:
        # By (signs may stand between letters, begins where a word does).
        self._roots: dict[tuple[bool, bool], _Node[M]] = {}
        self._pattern_starts: list[tuple[_Node[M], bool]] = []
        self._states: dict[Any, State[M]] = {}
        self._moves = 0
        self.is_empty: Final = not [self._add(term) for term in terms]
        self.start: Final = self._interned((), in_word=False, flagged=(), stopped=None)

    def judge(self, text: str) -> State[M]:
        """The state behind the whole text, its end counted: all that matches in it."""
        if self.is_empty:
            return self.start
        behind: State[M] = reduce(getitem, text, self.start)
        return self.end(behind)[0]

    def end(self, state: State[M]) -> tuple[State[M], _Origins]:
        """The state when the text ends here, and the origins of what stopped it."""
        if state.stopped is not None:
            return state, ()
        met = [(outcome, place) for place, thread in enumerate(state.threads) for outcome in _ending(thread)]
        return self._settled(state, met, [], in_word=False)

    def move(self, state: State[M], character: str) -> tuple[State[M], _Origins]:
        """The state behind one more character, and where its threads come from."""
        self._moves += 1
        if self._moves > MAX_MOVES:
            self._forget()
        origins: _Origins = tuple(range(len(state.threads)))
        for symbol in symbols(character):
            state, stepped = self._step(state, symbol)
            origins = tuple(origins[each] if each >= 0 else -1 for each in stepped)
            if state.stopped is not None:
                break
        return state, origins

    # --- making -------------------------------------------------------------------------------------------------------

    def _add(self, term: Term[M]) -> Term[M]:
        for part in term.parts:
            if isinstance(part, Literal):
                self._add_literal(term.outcome, part)
            else:
                self._add_pattern(term.outcome, part)
        return term

    def _add_literal(self, outcome: M, literal: Literal) -> None:
        node = self._roots.setdefault((literal.is_loose, literal.begins_word), _Node())
        for unit in literal.units:
            node.is_loose = literal.is_loose and not node.is_gap
            node = node.edges.setdefault(unit, _Node(is_gap=unit == GAP))
        (node.at_end if literal.ends_word else node.now).append(outcome)

    def _add_pattern(self, outcome: M, pattern: Pattern) -> None:
        nodes: list[_Node[M]] = [_Node(takes=place.takes) for place in pattern.places]
        for node, follow in zip(nodes, pattern.follow, strict=True):
            node.follow = [nodes[place] for place in follow]
        for place in pattern.last:
            (nodes[place].at_end if pattern.ends_word else nodes[place].now).append(outcome)
        self._pattern_starts += [(nodes[place], pattern.begins_word) for place in pattern.first]

    # --- running ------------------------------------------------------------------------------------------------------

    def _step(self, state: State[M], symbol: Symbol) -> tuple[State[M], _Origins]:
        if state.stopped is not None:
            return state, ()
        met: list[tuple[M, int]] = []
        reached: dict[_Thread, int] = {}
        for place, thread in enumerate(state.threads):
            if not symbol.is_word:
                met += ((outcome, place) for outcome in _ending(thread))
            for following in _following(thread, symbol):
                reached.setdefault(following, place)
        for beginning in self._beginning(symbol, in_word=state.in_word):
            reached.setdefault(beginning, -1)
        for (node, is_real, gap), origin in reached.items():
            if is_real and gap == 0:
                met += ((outcome, origin) for outcome in node.now)
                if node.takes is not None and not symbol.is_word:
                    # A pattern that ends with a sign ends there, whatever comes.
                    met += ((outcome, origin) for outcome in node.at_end)
        return self._settled(state, met, list(reached.items()), in_word=symbol.is_word)

    def _beginning(self, symbol: Symbol, *, in_word: bool) -> Iterator[_Thread]:
        for (_, begins_word), root in self._roots.items():
            if not (begins_word and in_word):
                yield from _along(root, symbol, is_real=False)
        for node, begins_word in self._pattern_starts:
            if not (begins_word and in_word and symbol.is_word) and node.takes(symbol):
                yield (node, True, 0)

    def _settled(
        self, state: State[M], met: Sequence[tuple[M, int]], reached: Sequence[tuple[_Thread, int]], *, in_word: bool
    ) -> tuple[State[M], _Origins]:
        stopping = [each for each in met if each[0].stops]
        flagged = state.flagged
        for outcome in sorted({outcome.order: outcome for outcome, _ in met if not outcome.stops}.values(), key=_order):
            if all(each.order != outcome.order for each in flagged):
                flagged = (*flagged, outcome)
        if stopping:
            # The text is cut before the oldest of all that stop it here; -1 is the youngest.
            oldest = min((place for _, place in stopping if place >= 0), default=-1)
            stopped = min((outcome for outcome, _ in stopping), key=_order)
            return self._interned((), in_word=False, flagged=flagged, stopped=stopped), (oldest,)
        # What can't go on any more holds nothing back.
        live = [(thread, origin) for thread, origin in reached if _is_live(thread)]
        # Oldest first: threads are met in the order of the state before, the new ones last.
        after = self._interned(tuple(thread for thread, _ in live), in_word=in_word, flagged=flagged, stopped=None)
        return after, tuple(origin for _, origin in live)

    def _interned(
        self, threads: tuple[_Thread, ...], *, in_word: bool, flagged: tuple[M, ...], stopped: M | None
    ) -> State[M]:
        key = (
            tuple((id(node), is_real, gap) for node, is_real, gap in threads),
            in_word,
            tuple(each.order for each in flagged),
            None if stopped is None else stopped.order,
        )
        found = self._states.get(key)
        if found is None:
            found = State(self, threads, in_word=in_word, flagged=flagged, stopped=stopped)
            self._states[key] = found
        return found

    def _forget(self) -> None:
        for state in self._states.values():
            state.forget()
        self._states = {key: state for key, state in self._states.items() if state is self.start}
        self._moves = 0


def _order(outcome: Outcome) -> int:
    return outcome.order


def _ending(thread: _Thread) -> Sequence[Any]:
    """What matches if the word ends behind the thread's last character."""
    node, is_real, gap = thread
    return node.at_end if is_real and gap == 0 else ()


def _is_live(thread: _Thread) -> bool:
    node, is_real, gap = thread
    return bool(node.edges or node.follow or (node.at_end and is_real and gap == 0))


def _following(thread: _Thread, symbol: Symbol) -> Iterator[_Thread]:
    node, is_real, gap = thread
    if node.takes is not None:
        for following in node.follow:
            if following.takes(symbol):
                yield (following, True, 0)
        return
    yield from _along(node, symbol, is_real=is_real)
    if symbol.is_separator and gap < MAX_GAP and node.edges:
        is_sign = symbol.kind is Kind.SIGN
        if node.is_gap or (node.is_loose and is_sign):
            yield (node, is_real, gap + 1)


def _along(node: _Node[Any], symbol: Symbol, *, is_real: bool) -> Iterator[_Thread]:
    """The trie's nodes one unit on. A sign read as a letter it is written for is no real one."""
    for reading in symbol.exact:
        child = node.edges.get(reading)
        if child is not None:
            yield (child, True, 0)
    for reading in symbol.loose:
        child = node.edges.get(reading)
        if child is not None:
            yield (child, is_real, 0)
    if symbol.is_separator:
        child = node.edges.get(GAP)
        if child is not None:
            yield (child, is_real, 1)
