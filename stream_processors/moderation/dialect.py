r"""The dialect of pattern rules: a part of regular expressions, matched in linear time, that never holds much back.

    abc  .  [a-z0-9_]  [^,;]  \d \w \s \D \W \S  \. \\ \n \t  (ab|cd)  (?:ab)  x?  x{3}  x{2,5}

No `*` and `+` (a match has a longest length), no anchors and `\b` (that is `whole_word`), no look-around or references.
Patterns see folded text: small letters, plain digits, no marks, lookalikes read as the letters that they look like.
"""

from dataclasses import dataclass
from typing import Final

from stream_processors.moderation.normalise import Kind, Symbol, symbols

MAX_POSITIONS: Final = 400
"""Places of a pattern with its repeats written out: the most that one character of a text can cost."""
_MAX_RANGE: Final = 4096
_SHORT: Final = frozenset("dws")
_ESCAPED: Final = {"n": "\n", "t": " ", "r": "\n"}
_SPECIAL: Final = frozenset(r".[](){}|?*+^$\/-\"',:;=!<>@#%&~` _")


class PatternError(ValueError):
    """The text is not a pattern of the dialect."""


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """Which symbols stand at a place.

    Args:
        members: folded characters. shorts: of `d`, `w`, `s`. missing: the same of `D`, `W`, `S`.
        is_negated: all but these.
    """

    members: frozenset[str] = frozenset()
    shorts: frozenset[str] = frozenset()
    missing: frozenset[str] = frozenset()
    is_negated: bool = False

    def takes(self, symbol: Symbol) -> bool:
        """True when the symbol may stand here. A negated set looks at the character itself, not at its lookalikes."""
        if self.is_negated:
            return not (symbol.text in self.members or self._by_kind(symbol))
        return any(reading in self.members for reading in symbol.exact) or self._by_kind(symbol)

    def _by_kind(self, symbol: Symbol) -> bool:
        return any(_is(each, symbol) for each in self.shorts) or any(not _is(each, symbol) for each in self.missing)


def _is(short: str, symbol: Symbol) -> bool:
    if short == "d":
        return "0" <= symbol.text <= "9"
    if short == "s":
        return symbol.kind is Kind.SPACE
    return symbol.kind in (Kind.WORD, Kind.UNSPACED) or symbol.text == "_"


_ANY: Final = CharacterSet(is_negated=True)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern as Glushkov's automaton: places, and which may follow which.

    Args:
        places: what stands at each. first: where a match begins. follow: by place. last: where it may end.
        begins_word, ends_word: no letter or digit may go on before, behind.

    Source: Glushkov, "The abstract theory of automata", 1961.
    """

    places: tuple[CharacterSet, ...]
    first: tuple[int, ...]
    follow: tuple[tuple[int, ...], ...]
    last: frozenset[int]
    begins_word: bool
    ends_word: bool


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece under construction: its first and last places, and whether it can be empty."""

    first: tuple[int, ...]
    last: tuple[int, ...]
    is_empty: bool


_NOTHING: Final = _Part((), (), is_empty=True)


def parse(text: str, *, whole_word: bool) -> Pattern:
    """The pattern. Raises PatternError, saying what and where."""
    parser = _Parser(text)
    whole = parser.alternatives()
    if parser.at < len(text):
        raise PatternError(f"unmatched ) at character {parser.at + 1}")
    if whole.is_empty:
        raise PatternError("it matches the empty text")
    follow = tuple(tuple(sorted(each)) for each in parser.follow)
    return Pattern(tuple(parser.places), whole.first, follow, frozenset(whole.last), whole_word, whole_word)


class _Parser:
    """Recursive descent that numbers places as it meets them; a repeat reads its piece again."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.places: list[CharacterSet] = []
        self.follow: list[set[int]] = []

    def alternatives(self) -> _Part:
        parts = [self._sequence()]
        while self._peek() == "|":
            self.at += 1
            parts.append(self._sequence())
        return _Part(
            tuple(place for part in parts for place in part.first),
            tuple(place for part in parts for place in part.last),
            is_empty=any(part.is_empty for part in parts),
        )

    def _sequence(self) -> _Part:
        whole = _NOTHING
        while self._peek() not in ("", "|", ")"):
            whole = self._then(whole, self._repeated())
        return whole

    def _repeated(self) -> _Part:
        began = self.at
        piece = self._piece()
        ended = self.at
        least, most = self._counts()
        after = self.at
        whole = _NOTHING
        for number in range(most):
            if number:
                # The same text again makes the next copy, with places of its own.
                self.at = began
                piece = self._piece()
                self.at = ended
            optional = number >= least
            whole = self._then(whole, _Part(piece.first, piece.last, is_empty=piece.is_empty or optional))
        self.at = after
        return whole

    def _then(self, left: _Part, right: _Part) -> _Part:
        for place in left.last:
            self.follow[place].update(right.first)
        first = left.first + right.first if left.is_empty else left.first
        last = left.last + right.last if right.is_empty else right.last
        return _Part(first, last, is_empty=left.is_empty and right.is_empty)

    def _counts(self) -> tuple[int, int]:
        sign = self._peek()
        if sign in ("*", "+"):
            raise self._error(f"{sign} has no longest length: write {{{'0' if sign == '*' else '1'},20}} or the like")
        if sign == "?":
            self.at += 1
            self._refuse_lazy()
            return 0, 1
        if sign != "{":
            return 1, 1
        end = self.text.find("}", self.at)
        low, comma, high = self.text[self.at + 1 : max(end, 0)].partition(",")
        if end < 0 or not low.isdecimal() or (comma and not high.isdecimal()):
            raise self._error("a count is {n} or {n,m}")
        least, most = int(low), int(high if comma else low)
        if least > most or most == 0 or most > MAX_POSITIONS:
            raise self._error(f"a count goes from low to high, 1 to {MAX_POSITIONS}")
        self.at = end + 1
        self._refuse_lazy()
        return least, most

    def _refuse_lazy(self) -> None:
        if self._peek() in ("?", "*", "+", "{"):
            raise self._error("a repeat of a repeat, or a lazy one")

    def _piece(self) -> _Part:
        character = self._peek()
        if character == "(":
            return self._group()
        if character == "[":
            return self._place(self._set())
        if character in ("?", "{", "*", "+"):
            raise self._error("nothing to repeat")
        if character in ("^", "$"):
            raise self._error(f"no anchors: use whole_word, or \\{character} for the sign itself")
        self.at += 1
        if character == ".":
            return self._place(_ANY)
        if character == "\\":
            return self._escaped()
        return self._spelled(character)

    def _group(self) -> _Part:
        self.at += 1
        if self._peek() == "?":
            if not self.text.startswith("?:", self.at):
                raise self._error("only ( and (?: open a group")
            self.at += 2
        inner = self.alternatives()
        if self._peek() != ")":
            raise self._error("( is never closed")
        self.at += 1
        return inner

    def _escaped(self) -> _Part:
        letter = self._taken()
        if letter.lower() in _SHORT:
            return self._place(_short(letter))
        return self._spelled(self._escape(letter))

    def _escape(self, letter: str) -> str:
        if letter in _ESCAPED:
            return _ESCAPED[letter]
        if letter not in _SPECIAL:
            raise self._error(f"\\{letter} is not in the dialect")
        return letter

    def _spelled(self, character: str) -> _Part:
        whole = _NOTHING
        for symbol in symbols(character):
            whole = self._then(whole, self._place(CharacterSet(frozenset(symbol.text))))
        if whole.is_empty:
            raise self._error(f"U+{ord(character):04X} is dropped from every text")
        return whole

    def _place(self, members: CharacterSet) -> _Part:
        if len(self.places) >= MAX_POSITIONS:
            raise self._error(f"longer than {MAX_POSITIONS} places with its repeats written out")
        self.places.append(members)
        self.follow.append(set())
        place = (len(self.places) - 1,)
        return _Part(place, place, is_empty=False)

    def _set(self) -> CharacterSet:
        self.at += 1
        is_negated = self._peek() == "^"
        self.at += is_negated
        members: set[str] = set()
        shorts: set[str] = set()
        missing: set[str] = set()
        while (character := self._peek()) != "]":
            if character == "":
                raise self._error("[ is never closed")
            self.at += 1
            if character == "[":
                raise self._error("a [ inside a set is written \\[")
            if character == "\\":
                letter = self._taken()
                if letter.lower() in _SHORT:
                    (shorts if letter.islower() else missing).add(letter.lower())
                    continue
                character = self._escape(letter)
            members.update(self._range(character))
        self.at += 1
        if not (members or shorts or missing):
            raise self._error("an empty set")
        return CharacterSet(frozenset(members), frozenset(shorts), frozenset(missing), is_negated)

    def _range(self, low: str) -> list[str]:
        high = low
        if self._peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("", "]"):
            self.at += 1
            high = self._taken()
            if high == "\\":
                high = self._escape(self._taken())
        if ord(high) < ord(low) or ord(high) - ord(low) >= _MAX_RANGE:
            raise self._error(f"{low}-{high} is no range of up to {_MAX_RANGE} characters")
        found = [symbols(chr(code)) for code in range(ord(low), ord(high) + 1)]
        if low == high and len(found[0]) != 1:
            raise self._error(f"{low!r} is read as {len(found[0])} characters: it can't stand in a set")
        return [each[0].text for each in found if len(each) == 1]

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _taken(self) -> str:
        character = self._peek()
        if not character:
            raise self._error("the pattern ends too early")
        self.at += 1
        return character

    def _error(self, what: str) -> PatternError:
        return PatternError(f"{what} (character {self.at + 1})")


def _short(letter: str) -> CharacterSet:
    chosen = frozenset(letter.lower())
    return CharacterSet(shorts=chosen) if letter.islower() else CharacterSet(missing=chosen)
