"""The screen that a text passes: whole at the input, piece by piece at the output.

What is released and what is decided are functions of the text and of the policies alone, not of how the text was cut: a
screen moves by single characters and releases all that precedes the oldest live partial match.
"""

from dataclasses import dataclass
from typing import Final

from schemas.errors import InvariantBroken
from schemas.turns import Stage, Verdict
from stream_processors.moderation.matcher import Automaton, State
from stream_processors.moderation.policy import Match, PolicySet
from stream_processors.moderation.verdicts import verdict_of


@dataclass(frozen=True, slots=True)
class Screened:
    """What a piece of text did.

    Args:
        released: may be seen; continues what was released before.
        verdict: why nothing behind it may be; the same at every later call. None: nothing stops the text so far.
    """

    released: str
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class Judged:
    """What a whole text is.

    Args:
        verdict: why it is stopped; None: it may pass.
        flags: what is to be told of it, each rule once.
    """

    verdict: Verdict | None
    flags: tuple[Verdict, ...]


def judge(policies: PolicySet, stage: Stage, tenant: str | None, text: str, tier: str | None = None) -> Judged:
    """The verdict that a screen reaches when it is fed this text and finished."""
    state = policies.automaton(stage, tenant, tier).judge(text)
    return Judged(_stopping(state, stage), _flags(state, stage))


class Screen:
    """Judges one text as it grows. Not to be shared; a few hundred bytes and the text itself.

    Args:
        policies: in force now; `renew` exchanges them.
        stage: which rules hold, and what a stopped text is called.
        tenant, tier: whose text it is.
    """

    def __init__(self, policies: PolicySet, stage: Stage, tenant: str | None, tier: str | None = None) -> None:
        self._stage: Final = stage
        self._scope: Final = (stage, tenant, tier)
        self._verdict: Verdict | None = None
        self._old_flags: tuple[Verdict, ...] = ()
        self._released: list[str] = []
        self._held = ""
        self._unread = ""
        self._is_finished = False
        self._enter(policies.automaton(*self._scope))

    def _enter(self, automaton: Automaton[Match]) -> None:
        self._automaton = automaton
        self._state: State[Match] = automaton.start
        # Where each live partial match begins, oldest first, counted from the first character that isn't released.
        self._starts: list[int] = []

    @property
    def held(self) -> str:
        """What has been fed and neither released nor stopped."""
        return self._held + self._unread

    @property
    def flags(self) -> tuple[Verdict, ...]:
        """What is to be told of the text, each rule once; grows as the text does."""
        known = {(each.policy, each.rule) for each in self._old_flags}
        met = (each for each in _flags(self._state, self._stage) if (each.policy, each.rule) not in known)
        return (*self._old_flags, *met)

    def feed(self, text: str) -> Screened:
        """Take the next piece and release what can't become a match any more.

        Raises:
            InvariantBroken: the text was finished.
        """
        if self._is_finished:
            raise InvariantBroken("a finished text was fed")
        if self._verdict is not None:
            return Screened("", self._verdict)
        text, self._unread = self._unread + text, ""
        if self._automaton.is_empty:
            return self._release(self._held + text, "")
        whole = self._held + text
        self._run(text, len(self._held))
        # A match may have begun in text that was released before (`resume`, `renew`): its start is below 0.
        end = max(0, self._starts[0]) if self._starts else len(whole)
        self._verdict = _stopping(self._state, self._stage)
        return self._release(whole[:end], "" if self._verdict is not None else whole[end:])

    def finish(self) -> Screened:
        """The text ends here: release the rest, or stop what matches now that it has ended. Idempotent."""
        if self._is_finished or self._verdict is not None:
            self._is_finished = True
            return Screened("", self._verdict)
        fed = self.feed("")
        self._is_finished = True
        if fed.verdict is not None:
            return fed
        self._state, origins = self._automaton.end(self._state)
        self._verdict = _stopping(self._state, self._stage)
        if self._verdict is None:
            return Screened(fed.released + self._release(self._held, "").released, None)
        rest = self._release(self._held[: max(0, self._starts[origins[0]])], "")
        return Screened(fed.released + rest.released, self._verdict)

    def resume(self, released: str) -> None:
        """Stand where a screen stands that has released this text: to be called before the first `feed`.

        What matches within it is past; a match that begins in it and ends behind it counts.
        """
        self._released.append(released)
        self._pass(released)

    def renew(self, policies: PolicySet) -> None:
        """Judge by these policies what is released from now on; what is held back is judged anew at the next call."""
        if self._is_finished or self._verdict is not None:
            return
        automaton = policies.automaton(*self._scope)
        if automaton is self._automaton:
            return
        self._old_flags = self.flags
        self._unread, self._held = self.held, ""
        self._enter(automaton)
        self._pass("".join(self._released))

    def _pass(self, text: str) -> None:
        """Go through text that was released, whatever it matches."""
        for place, character in enumerate(text):
            self._run(character, place)
            if self._state.stopped is not None:
                # Begin anew behind the match.
                self._old_flags = self.flags
                self._state, self._starts = self._automaton.start, []
        self._starts = [start - len(text) for start in self._starts]

    def _run(self, text: str, place: int) -> None:
        state, starts = self._state, self._starts
        for character in text:
            before, state = state, state[character]
            if state.threads or state.stopped is not None:
                starts = [starts[each] if each >= 0 else place for each in before.origins[character]]
                if state.stopped is not None:
                    break
            else:
                starts = []
            place += 1
        self._state, self._starts = state, starts

    def _release(self, text: str, held: str) -> Screened:
        if text:
            self._released.append(text)
        self._starts = [start - len(text) for start in self._starts]
        self._held = held
        return Screened(text, self._verdict)


def _stopping(state: State[Match], stage: Stage) -> Verdict | None:
    return None if state.stopped is None else verdict_of(state.stopped, stage)


def _flags(state: State[Match], stage: Stage) -> tuple[Verdict, ...]:
    return tuple(verdict_of(each, stage) for each in state.flagged)
