"""Who is in the engine, and who must be alone there: a turn that met two deaths may be what kills its workers.

Pure. While somebody wants to be alone nothing else is let in; when the last has left, the first who wants to goes in,
then the next one, and only then the others again: so the engine is emptied once, however many are suspected.
"""

from dataclasses import dataclass, field

from schemas.turns import Source


@dataclass(slots=True)
class Isolation:
    """The engine of one worker. Leaving is idempotent, so that whoever gives up need not know how far it got."""

    _inside: set[Source] = field(default_factory=set)
    _wanting: dict[Source, None] = field(default_factory=dict)
    alone: Source | None = None

    @property
    def is_open(self) -> bool:
        """True when a turn like any other may go in."""
        return self.alone is None and not self._wanting

    def enter(self, source: Source) -> None:
        """A turn got a slot and may use the engine."""
        self._inside.add(source)

    def want(self, source: Source) -> None:
        """The turn stays outside until it can be alone; it keeps its slot. A turn that is alone stays so."""
        if source != self.alone:
            self._inside.discard(source)
            self._wanting.setdefault(source)

    def leave(self, source: Source) -> None:
        """The turn has left the engine, or wants nothing more of it."""
        self._inside.discard(source)
        self._wanting.pop(source, None)
        if self.alone == source:
            self.alone = None

    def admit(self) -> Source | None:
        """Let the next one in that wants to be alone; None when nobody does, or somebody is still inside."""
        if self._inside or not self._wanting:
            return None
        self.alone = next(iter(self._wanting))
        del self._wanting[self.alone]
        self._inside.add(self.alone)
        return self.alone
