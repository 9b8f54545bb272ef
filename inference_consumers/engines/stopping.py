"""Where an answer ends by a stop text, independent of how the text was cut on its way.

Pure. One automaton a stop text (Knuth, Morris, Pratt 1977) remembers how much of it the text so far ends with: that
much could be its beginning and is held back.
"""

from collections.abc import Sequence


class _Automaton:
    """How many characters of one stop text the text read so far ends with."""

    def __init__(self, stop: str) -> None:
        self._stop = stop
        self._fallback = _fallbacks(stop)
        self.matched = 0

    def step(self, character: str) -> bool:
        """Read one character; True when the stop text is complete."""
        while self.matched and self._stop[self.matched] != character:
            self.matched = self._fallback[self.matched - 1]
        if self._stop[self.matched] == character:
            self.matched += 1
        return self.matched == len(self._stop)


def _fallbacks(stop: str) -> list[int]:
    """For each prefix of `stop`: the length of its longest end that is also its beginning."""
    table = [0] * len(stop)
    length = 0
    for place in range(1, len(stop)):
        while length and stop[place] != stop[length]:
            length = table[length - 1]
        if stop[place] == stop[length]:
            length += 1
        table[place] = length
    return table


class StopMatcher:
    """Reads an answer and says up to where it may be shown.

    The first stop text to be complete ends the answer; of several complete at the same character, the longest.
    After `push` has returned a place, the matcher is spent.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._automata = [_Automaton(stop) for stop in stops]
        self._read = 0

    @property
    def safe(self) -> int:
        """Characters from the answer's beginning that no stop text to come can reach back to."""
        return self._read - max((automaton.matched for automaton in self._automata), default=0)

    def push(self, text: str) -> int | None:
        """Read the next characters.

        Returns:
            Where the answer ends, counted from its beginning, or None while no stop text is complete.
        """
        if not self._automata:
            self._read += len(text)
            return None
        for character in text:
            self._read += 1
            # All are stepped, none skipped: each must have read the same text.
            complete = [automaton.matched for automaton in self._automata if automaton.step(character)]
            if complete:
                return self._read - max(complete)
        return None
